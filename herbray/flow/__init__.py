"""Jobs on Ray: each reads tables and writes one table or one model, and can be run again without harm."""

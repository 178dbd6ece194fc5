"""Tables as people save them: delimited text in any common dialect, workbooks and Parquet, read as rows of text."""

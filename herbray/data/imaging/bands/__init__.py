"""Large PNG and TIFF files, decoded in bands of rows."""

"""Transfer of documents into files: file names, downloads and their verification."""

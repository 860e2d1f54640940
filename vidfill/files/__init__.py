"""Files and processes that several parts of the program share."""

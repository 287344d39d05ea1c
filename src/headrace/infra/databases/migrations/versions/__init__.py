"""One file for each revision; a file that has been released is never changed."""

"""What `vidfill remove` is: from a request to the finished file."""

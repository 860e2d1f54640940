"""What the user wants gone: masks from files, boxes and clicks."""

"""The commands of the box, one module each: parse, call one library function, print."""

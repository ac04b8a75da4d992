"""The commands of the workstation, one module each: parse, call one library function, print."""

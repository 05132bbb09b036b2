//! Tests of compiling: from texts to a gateway. They never touch the disk.

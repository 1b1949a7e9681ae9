//! The `fourbit` command.
fn main() {}

//! The program `memlane`. Everything it does stands in the library beside it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    memlane_cli::commands::main()
}

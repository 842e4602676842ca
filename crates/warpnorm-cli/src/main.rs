//! The tool `warpnorm`: applies norms to tensors in files, checks how far the results are from the f64
//! reference, counts what the kernels cost, and times them.
//!
//! Exit codes: 0 success; 1 a result outside its tolerance, a cost above its baseline or a
//! kernel that spills; 2 bad usage or bad input; 3 a device that
//! is missing or failed. Errors are one line on stderr that begins with `error:`.

mod apply;
mod assemble;
mod batch;
mod batch_apply;
mod bench_cmd;
mod cli;
mod device;
mod error;
mod files;
mod grid;
mod info;
mod ops;
mod options;
mod parity_cmd;
mod profile_cmd;
mod ptxas;
mod quantise;
mod report;
mod report_cmd;
mod tensors;
mod words;

use clap::Parser;
use cli::{Cli, Command};
use error::{ToolError, one_line};
use report::Outcome;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            // Where stderr is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {}", one_line(&error.to_string()));
            error.exit_code()
        }
    }
}

fn run() -> Result<Outcome, ToolError> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            report::print(&error.render().to_string())?;
            return Ok(Outcome::Passed);
        }
        Err(error) => return Err(ToolError::Usage(error::usage_message(&error.render().to_string()))),
    };
    match cli.command {
        Command::Info(arguments) => info::run(&arguments),
        Command::Apply(arguments) => apply::run(&arguments),
        Command::Parity(arguments) => parity_cmd::run(&arguments),
        Command::Assemble(arguments) => assemble::run(&arguments),
        Command::Profile(arguments) => profile_cmd::run(&arguments),
        Command::Bench(arguments) => bench_cmd::run(&arguments),
        Command::Report(arguments) => report_cmd::run(&arguments),
    }
}

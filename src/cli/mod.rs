//! The command line: one file per command, one place that prints.

mod add;
mod address;
mod arguments;
mod audit;
mod build;
mod bump;
mod bundle;
mod cascade;
mod cause;
mod changes;
mod check;
mod completions;
mod config;
mod context;
mod diff;
mod doctor;
mod eval;
mod executor;
mod failure;
mod fmt;
mod forecast;
mod hint;
mod init;
mod interrupt;
mod kept;
mod key;
mod lock;
mod log;
mod lsp;
mod output;
mod patch;
mod progress;
mod publish;
pub mod render;
mod repo;
mod report;
mod reproduce;
mod revision;
mod root;
mod serve;
mod shell;
mod status;
mod store;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};
use output::Output;

/// Runs the program: exit code 0 done; 1 a build or check failed, or something is stale; 2 the
/// user's input; 3 the machine; 130 interrupted.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return output::usage(&error),
    };
    let output = Output::new(&arguments.global);
    let result = match &arguments.command {
        // The exit code is that of the command that was run there.
        Command::Shell(command) => return shell::run(command, &arguments.global, &output),
        Command::Init(command) => init::run(command, &arguments.global, &output),
        Command::Add(command) => add::run(command, &arguments.global, &output),
        Command::Check(command) => check::run(command, &arguments.global, &output),
        Command::Eval(command) => eval::run(command, &arguments.global, &output),
        Command::Lock(command) => lock::lock(command, &arguments.global, &output),
        Command::Update(command) => lock::update(command, &arguments.global, &output),
        Command::Build(command) => build::run(command, &arguments.global, &output),
        Command::Reproduce(command) => reproduce::run(command, &arguments.global, &output),
        Command::Status(command) => status::run(command, &arguments.global, &output),
        Command::Log(command) => log::run(command, &arguments.global, &output),
        Command::Patch(command) => patch::run(command, &arguments.global, &output),
        Command::Why(command) => why::run(command, &arguments.global, &output),
        Command::Diff(command) => diff::run(command, &arguments.global, &output),
        Command::Root(command) => root::run(command, &arguments.global, &output),
        Command::Repo(command) => repo::run(command, &arguments.global, &output),
        Command::Publish(command) => publish::run(command, &arguments.global, &output),
        Command::Serve(command) => serve::run(command, &arguments.global, &output),
        Command::Audit(command) => audit::run(command, &arguments.global, &output),
        Command::Fmt(command) => fmt::run(command, &output),
        Command::Completions(command) => Ok(completions::run(command, &output)),
        Command::Lsp => lsp::run(&arguments.global),
        Command::Store(command) => store::run(command, &arguments.global, &output),
        Command::Bundle(command) => bundle::run(command, &arguments.global, &output),
        Command::Key(command) => key::run(command, &arguments.global, &output),
        Command::Doctor => doctor::run(&arguments.global, &output),
    };
    context::tell_damage(&output);
    output.finish(result)
}

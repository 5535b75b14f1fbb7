//! `completions`: what a shell needs to complete commands, flags and their values.

use clap::CommandFactory as _;
use serde_json::{Value, json};

use super::arguments::{Arguments, Completions, Shell};
use super::output::Output;

/// Prints the completions of a shell.
pub fn run(arguments: &Completions, output: &Output) -> Value {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    output.text(&script);
    json!({ "shell": shell.to_string(), "script": script })
}

//! The one place that prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::arguments::{Colour, Global, ProgressKind};
use super::failure::{Failure, Kind, Problem, Told};
use super::render;
use crate::base::{HostPath, Span};
use crate::spec::expression::PLACE;

/// The format of the documents that `--json` prints.
const FORMAT: &str = "perestroika/output/1";

/// Where a command's result goes, and in which form.
pub struct Output {
    json: bool,
    quiet: bool,
    /// Whether what is under way is told.
    progress: bool,
    colour: bool,
    /// Whether a program reads what is said on standard error.
    documents: bool,
    /// Whether the document was printed before the command's end.
    begun: AtomicBool,
    /// Whether some of the result could not be written.
    lost: AtomicBool,
}

/// What a command hands over at its end: text it has printed already, and the same as a document.
pub type CommandResult = Result<Value, (Value, Failure)>;

impl Output {
    /// As the flags ask.
    pub fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            progress: global.progress != ProgressKind::None,
            colour: coloured(global.color),
            documents: global.progress == ProgressKind::Json,
            begun: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// Whether the result is printed as a document: who does not want it need not make it.
    pub fn wants_document(&self) -> bool {
        self.json
    }

    /// Prints a part of the result for people.
    pub fn text(&self, text: &str) {
        if !self.json {
            self.wrote(anstream::stdout().lock().write_all(text.as_bytes()));
        }
    }

    /// Remembers what was not written. A closed pipe is the reader's decision.
    fn wrote(&self, written: io::Result<()>) {
        if written.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Prints the document of a command that goes on until it is told to stop, for whoever needs
    /// to know that it has begun. It is not printed again at the end.
    pub fn begin(&self, document: &Value) {
        if self.json {
            self.begun.store(true, Ordering::Relaxed);
            self.wrote(print_document(document.clone(), Vec::new()));
        }
    }

    /// Makes sure that what was printed is seen, for whoever waits for more.
    pub fn flush(&self) {
        self.wrote(anstream::stdout().lock().flush());
    }

    /// Tells of what failed, on standard error; a document has it among its errors.
    pub fn failed(&self, text: &str) {
        if !self.json {
            let _ = anstream::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// Prints a part of the result that only matters to who watches: silence leaves it out.
    pub fn summary(&self, text: &str) {
        if !self.quiet {
            self.text(text);
        }
    }

    /// Says something beside the result, unless silence was asked for.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let text = match self.documents {
                true => json!({ "event": "note", "text": text }).to_string(),
                false => text.to_owned(),
            };
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        }
    }

    /// Says what takes a moment now.
    pub fn under_way(&self, text: &str) {
        if self.progress {
            self.note(text);
        }
    }

    /// Prints the end of a command and gives its exit code.
    pub fn finish(&self, result: CommandResult) -> ExitCode {
        let (document, failure) = match result {
            Ok(document) => (document, None),
            Err((document, failure)) => (document, Some(failure)),
        };
        if self.json && !self.begun.load(Ordering::Relaxed) {
            let problems = failure.iter().flat_map(|failure| &failure.problems);
            self.wrote(print_document(document, problems.map(as_json).collect()));
        } else if let Some(failure) = &failure {
            self.explain(failure);
        }
        self.flush();
        if self.lost.load(Ordering::Relaxed) {
            let failure = Failure::new(Kind::Machine, "output", "cannot write the result")
                .hint("is there space left where standard output goes?");
            self.explain(&failure);
            return ExitCode::from(failure.kind.code());
        }
        failure.map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.kind.code()))
    }

    fn explain(&self, failure: &Failure) {
        let mut err = anstream::stderr().lock();
        for problem in &failure.problems {
            let _ = match problem {
                Problem::InRelease { folder, expression, diagnostic } => {
                    let text = render::diagnostics(
                        std::slice::from_ref(diagnostic),
                        &|path| match expression {
                            Some(text) if path.as_str() == PLACE => Some(text.clone()),
                            _ => excerpted(&folder.join(path.as_str())),
                        },
                        &shown_folder(folder),
                        if self.colour { render::Color::Always } else { render::Color::Never },
                        columns(),
                    );
                    writeln!(err, "{}\n", text.trim_end())
                }
                // It was told when it became known.
                Problem::Chain { told: Told::Already, .. } => Ok(()),
                Problem::Chain { messages, hints, .. } => {
                    let (bold, plain) =
                        if self.colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
                    let mut text = format!("{bold}error{plain}: {}", messages[0]);
                    for message in &messages[1..] {
                        text.push_str(&format!("\n  because: {message}"));
                    }
                    for hint in hints {
                        text.push_str(&format!("\nhelp: {hint}"));
                    }
                    writeln!(err, "{text}")
                }
            };
        }
    }
}

fn print_document(document: Value, errors: Vec<Value>) -> io::Result<()> {
    let mut document = if document.is_object() { document } else { json!({}) };
    document["format"] = FORMAT.into();
    document["errors"] = errors.into();
    let mut out = anstream::stdout().lock();
    writeln!(out, "{document}")?;
    out.flush()
}

/// The wrong use of the command line, as clap tells it, or its help. A program that asked for a
/// document gets one.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let message = error.to_string();
        let problem = json!({ "code": "usage", "message": message.trim(), "hints": [] });
        let document = json!({ "format": FORMAT, "errors": [problem] });
        let _ = writeln!(anstream::stdout().lock(), "{document}");
    } else {
        let _ = error.print();
    }
    ExitCode::from(Kind::Input.code())
}

/// Whether standard error is written to in colour.
pub fn coloured(wanted: Colour) -> bool {
    match wanted {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// How wide the terminal is that errors are shown on.
fn columns() -> usize {
    let size = console::Term::stderr().size_checked();
    size.map_or(render::COLUMNS, |(_, columns)| usize::from(columns))
}

/// How a folder is written before the paths of its files: relative to the working folder where
/// it lies below.
fn shown_folder(folder: &HostPath) -> PathBuf {
    let short = std::env::current_dir()
        .ok()
        .and_then(|here| folder.as_path().strip_prefix(here).ok().map(ToOwned::to_owned));
    short.unwrap_or_else(|| folder.as_path().to_owned())
}

/// The text of a file for an excerpt. What is wrong with it may be that it is a pipe, or a link
/// to something endless: such things are not read.
fn excerpted(path: &HostPath) -> Option<String> {
    const LARGEST: u64 = 4 << 20;
    let there = std::fs::symlink_metadata(path).ok()?;
    let plain = there.is_file() && there.len() <= LARGEST;
    plain.then(|| std::fs::read_to_string(path).ok())?
}

fn as_json(problem: &Problem) -> Value {
    match problem {
        Problem::InRelease { folder, expression: _, diagnostic } => {
            let place = diagnostic.places.first().map(|place| &place.span);
            let file = |span: &Span| match span.file.as_str() {
                PLACE => PLACE.to_owned(),
                file => folder.join(file).to_string(),
            };
            json!({
                "code": diagnostic.code,
                "message": diagnostic.message,
                "file": place.map(file),
                "line": place.map(|span| span.line),
                "column": place.map(|span| span.column),
                "hints": diagnostic.hints,
            })
        }
        Problem::Chain { code, messages, hints, told: _ } => json!({
            "code": code,
            "message": messages.join(": "),
            "hints": hints,
        }),
    }
}

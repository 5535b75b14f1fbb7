//! `lsp`: a language server over standard input and output (Language Server Protocol 3.17).
//!
//! One thread converses: what it answers comes from the text and from what is known already, so
//! it answers at once. Another evaluates the release as it is on the editor's screen.

mod archive;
mod complete;
mod cursor;
mod define;
mod hover;
mod knowledge;
mod position;
mod view;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use lsp_types::notification::{
    DidChangeTextDocument, DidChangeWatchedFiles, DidCloseTextDocument, DidOpenTextDocument,
    DidSaveTextDocument, Notification as _, PublishDiagnostics,
};
use lsp_types::request::{Completion, Formatting, GotoDefinition, HoverRequest, Request as _};
use lsp_types::{
    CompletionOptions, CompletionParams, CompletionResponse, DidChangeTextDocumentParams,
    DidCloseTextDocumentParams, DidOpenTextDocumentParams, DocumentFormattingParams,
    GotoDefinitionParams, GotoDefinitionResponse, Hover, HoverContents, HoverParams,
    HoverProviderCapability, InitializeParams, Location, MarkupContent, MarkupKind, OneOf,
    ServerCapabilities, TextDocumentContentChangeEvent, TextDocumentPositionParams,
    TextDocumentSyncCapability, TextDocumentSyncKind, TextDocumentSyncOptions,
    TextDocumentSyncSaveOptions, TextEdit, Uri,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arguments::Global;
use super::context::store_folder;
use super::failure::{Failure, Kind};
use super::output::CommandResult;
use crate::base::{HostPath, ReleasePath};
use crate::spec::loader::{Folder, Loader as _, MAX_TEXT};
use crate::spec::release;
use crate::spec::syntax::layout;
use cursor::Cursor;
use view::View;
use worker::{Hints, Job, Known, Open};

/// The largest text in which anything is looked for.
const MAX_ASKED: usize = 1 << 20;

/// Serves an editor until it says that it leaves.
pub fn run(global: &Global) -> CommandResult {
    let (connection, _threads) = Connection::stdio();
    serve(&connection, global).map(|()| Value::Null).map_err(|failure| (Value::Null, failure))
}

fn serve(connection: &Connection, global: &Global) -> Result<(), Failure> {
    let broken = |message: String| Failure::new(Kind::Machine, "protocol", message);
    let (id, parameters) =
        connection.initialize_start().map_err(|error| broken(error.to_string()))?;
    let result = json!({
        "capabilities": capabilities(),
        "serverInfo": { "name": "perestroika", "version": env!("CARGO_PKG_VERSION") },
    });
    connection.initialize_finish(id, result).map_err(|error| broken(error.to_string()))?;
    let parameters: Option<InitializeParams> = serde_json::from_value(parameters).ok();
    let known = Known::default();
    let sender = connection.sender.clone();
    let publish = move |diagnostics| {
        let method = PublishDiagnostics::METHOD.to_owned();
        // A closed pipe is the reader's decision.
        let _ = sender.send(Notification::new(method, diagnostics).into());
    };
    // Without a home there is no store to know archives from.
    let store = store_folder(global).ok();
    let jobs = worker::start(known.clone(), store, hints(parameters.as_ref()), publish)
        .map_err(|error| Failure::error(Kind::Machine, "thread", &error))?;
    let mut server = Server { documents: BTreeMap::new(), known, jobs, leaving: false };
    for message in &connection.receiver {
        match message {
            Message::Request(request) => {
                let response = server.answer(request);
                if connection.sender.send(response.into()).is_err() {
                    break;
                }
            }
            Message::Notification(notification) if notification.method == "exit" => break,
            Message::Notification(notification) => server.hear(notification),
            Message::Response(_) => {}
        }
    }
    match server.leaving {
        true => Ok(()),
        false => Err(Failure::new(Kind::Result, "protocol", "the editor left without `shutdown`")),
    }
}

fn capabilities() -> ServerCapabilities {
    let triggers = [".", ":", "\"", "(", "{", "/", "|", ","];
    ServerCapabilities {
        text_document_sync: Some(TextDocumentSyncCapability::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            save: Some(TextDocumentSyncSaveOptions::Supported(true)),
            ..TextDocumentSyncOptions::default()
        })),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some(triggers.map(str::to_owned).to_vec()),
            ..CompletionOptions::default()
        }),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        ..ServerCapabilities::default()
    }
}

/// Whether the editor shows what is related to a diagnostic.
fn hints(parameters: Option<&InitializeParams>) -> Hints {
    let related = parameters
        .and_then(|it| it.capabilities.text_document.as_ref()?.publish_diagnostics.as_ref())
        .and_then(|it| it.related_information);
    if related == Some(true) { Hints::Related } else { Hints::Message }
}

/// An open file.
struct Document {
    uri: Uri,
    version: i32,
    text: String,
}

struct Server {
    documents: BTreeMap<PathBuf, Document>,
    known: Known,
    jobs: mpsc::Sender<Job>,
    leaving: bool,
}

type Answer = Result<Value, (ErrorCode, String)>;

impl Server {
    fn answer(&mut self, request: Request) -> Response {
        let Request { id, method, params } = request;
        let answer = if self.leaving {
            Err((ErrorCode::InvalidRequest, "`shutdown` was asked for".to_owned()))
        } else if method == "shutdown" {
            self.leaving = true;
            Ok(Value::Null)
        } else {
            let answered = catch_unwind(AssertUnwindSafe(|| self.look_up(&method, params)));
            answered.unwrap_or_else(|_| {
                Err((ErrorCode::InternalError, format!("`{method}` broke off")))
            })
        };
        match answer {
            Ok(value) => Response::new_ok(id, value),
            Err((code, message)) => Response::new_err(id, code as i32, message),
        }
    }

    fn look_up(&self, method: &str, params: Value) -> Answer {
        match method {
            Completion::METHOD => {
                let params: CompletionParams = read(params)?;
                let found = self.view(&params.text_document_position, |view, _| {
                    Some(CompletionResponse::List(complete::complete(view)))
                });
                written(found)
            }
            HoverRequest::METHOD => {
                let params: HoverParams = read(params)?;
                let found = self.view(&params.text_document_position_params, |view, _| {
                    let (value, bytes) = hover::hover(view)?;
                    let contents = MarkupContent { kind: MarkupKind::Markdown, value };
                    Some(Hover {
                        contents: HoverContents::Markup(contents),
                        range: Some(position::range(view.text, bytes)),
                    })
                });
                written(found)
            }
            GotoDefinition::METHOD => {
                let params: GotoDefinitionParams = read(params)?;
                let found = self.view(&params.text_document_position_params, |view, here| {
                    let target = define::define(view, here)?;
                    let uri = self.uri(&target.path)?;
                    Some(GotoDefinitionResponse::Scalar(Location::new(uri, target.range)))
                });
                written(found)
            }
            Formatting::METHOD => {
                let params: DocumentFormattingParams = read(params)?;
                written(self.laid_out(&params.text_document.uri))
            }
            other => Err((ErrorCode::MethodNotFound, format!("`{other}` is not supported"))),
        }
    }

    /// What the layout changes in an open spec; nothing where it does not parse.
    fn laid_out(&self, uri: &Uri) -> Option<Vec<TextEdit>> {
        let path = position::file(uri)?;
        let text = &self.documents.get(&path)?.text;
        let spec = path.extension().is_some_and(|extension| extension == "rhai");
        if !spec || text.len() as u64 > MAX_TEXT {
            return None;
        }
        let name = path.file_name()?.to_str()?.parse().ok()?;
        let laid_out = layout(&name, text).ok()?;
        if laid_out == *text {
            return Some(Vec::new());
        }
        Some(vec![TextEdit::new(position::range(text, 0..text.len()), laid_out)])
    }

    /// Answers a question about a place in an open file; nothing where it is not open.
    fn view<T>(
        &self,
        place: &TextDocumentPositionParams,
        answer: impl FnOnce(&View<'_>, &Path) -> Option<T>,
    ) -> Option<T> {
        let path = position::file(&place.text_document.uri)?;
        let document = self.documents.get(&path)?;
        if document.text.len() > MAX_ASKED {
            return None;
        }
        let folder = self.release_of(&path);
        let known = self.known.of(folder.as_ref());
        let read = |path: &ReleasePath| self.read(folder.as_ref()?, path);
        let offset = position::offset(&document.text, place.position);
        let view = View {
            text: &document.text,
            cursor: Cursor::at(&document.text, offset),
            folder: folder.as_ref(),
            known: &known,
            read: &read,
        };
        answer(&view, &path)
    }

    /// The text of a file of a release, as the editor has it.
    fn read(&self, folder: &HostPath, path: &ReleasePath) -> Option<Arc<str>> {
        let host = folder.join(path.as_str());
        if let Some(open) = self.documents.get(host.as_path()) {
            return Some(open.text.as_str().into());
        }
        let bytes = Folder::new(folder.clone()).read(path, MAX_TEXT).ok()?;
        String::from_utf8(bytes).ok().map(Into::into)
    }

    /// What the editor calls a file.
    fn uri(&self, path: &Path) -> Option<Uri> {
        match self.documents.get(path) {
            Some(open) => Some(open.uri.clone()),
            None => position::uri(path),
        }
    }

    /// The release folder that a file lies in.
    fn release_of(&self, path: &Path) -> Option<HostPath> {
        let begins = |folder: &&Path| {
            let file = folder.join(release::FILE);
            self.documents.contains_key(&file) || file.is_file()
        };
        path.ancestors().skip(1).find(begins).map(HostPath::new)
    }

    fn hear(&mut self, notification: Notification) {
        let Notification { method, params } = notification;
        let heard = catch_unwind(AssertUnwindSafe(|| self.take_in(&method, params)));
        // Nobody waits for an answer: what cannot be understood is passed over.
        drop(heard);
    }

    fn take_in(&mut self, method: &str, params: Value) -> Option<()> {
        match method {
            DidOpenTextDocument::METHOD => {
                let params: DidOpenTextDocumentParams = read(params).ok()?;
                let document = params.text_document;
                let path = position::file(&document.uri)?;
                let (uri, version, text) = (document.uri, document.version, document.text);
                self.documents.insert(path.clone(), Document { uri, version, text });
                self.evaluate(&path, Disk::MayDiffer);
            }
            DidChangeTextDocument::METHOD => {
                let params: DidChangeTextDocumentParams = read(params).ok()?;
                let path = position::file(&params.text_document.uri)?;
                let document = self.documents.get_mut(&path)?;
                document.version = params.text_document.version;
                for change in params.content_changes {
                    apply(&mut document.text, change);
                }
                self.evaluate(&path, Disk::AsBefore);
            }
            DidCloseTextDocument::METHOD => {
                let params: DidCloseTextDocumentParams = read(params).ok()?;
                let path = position::file(&params.text_document.uri)?;
                self.documents.remove(&path)?;
                self.evaluate(&path, Disk::MayDiffer);
            }
            DidSaveTextDocument::METHOD | DidChangeWatchedFiles::METHOD => {
                let open: Vec<PathBuf> = self.documents.keys().cloned().collect();
                let mut done = BTreeSet::new();
                for path in open {
                    if done.insert(self.release_of(&path)) {
                        self.evaluate(&path, Disk::MayDiffer);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Has the release of a file evaluated.
    fn evaluate(&self, path: &Path, disk: Disk) {
        let Some(folder) = self.release_of(path) else { return };
        let open = self.documents.iter().filter_map(|(path, document)| {
            let inside = path.strip_prefix(folder.as_path()).ok()?.to_str()?;
            let Document { uri, version, text } = document;
            let open = Open { uri: uri.clone(), version: *version, text: text.as_str().into() };
            Some((inside.parse().ok()?, open))
        });
        let open = open.collect();
        let job = Job { folder, open, changed_on_disk: disk == Disk::MayDiffer };
        // The thread is gone only if it broke off; words can be completed without it.
        let _ = self.jobs.send(job);
    }
}

/// Whether files may have changed beside the open ones.
#[derive(PartialEq)]
enum Disk {
    AsBefore,
    MayDiffer,
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, (ErrorCode, String)> {
    serde_json::from_value(params).map_err(|error| (ErrorCode::InvalidParams, error.to_string()))
}

fn written(result: impl Serialize) -> Answer {
    serde_json::to_value(result).map_err(|error| (ErrorCode::InternalError, error.to_string()))
}

/// Changes a text as the editor changed it: a range, or all of it.
fn apply(text: &mut String, change: TextDocumentContentChangeEvent) {
    let Some(range) = change.range else {
        *text = change.text;
        return;
    };
    let start = position::offset(text, range.start);
    let end = position::offset(text, range.end).max(start);
    text.replace_range(start..end, &change.text);
}

#[cfg(test)]
mod tests {
    use lsp_types::{Position, Range};

    use super::*;

    #[test]
    fn changes_apply_to_ranges_and_whole_texts() {
        let mut text = "a😀b\nc".to_owned();
        let change = |range: Option<((u32, u32), (u32, u32))>, text: &str| {
            let position = |(line, character)| Position::new(line, character);
            TextDocumentContentChangeEvent {
                range: range.map(|(start, end)| Range::new(position(start), position(end))),
                range_length: None,
                text: text.to_owned(),
            }
        };
        apply(&mut text, change(Some(((0, 3), (1, 0))), "X"));
        assert_eq!(text, "a😀Xc");
        apply(&mut text, change(Some(((0, 3), (0, 1))), "Y"));
        assert_eq!(text, "a😀YXc");
        apply(&mut text, change(Some(((9, 9), (9, 9))), "end"));
        assert_eq!(text, "a😀YXcend");
        apply(&mut text, change(None, "all"));
        assert_eq!(text, "all");
    }
}

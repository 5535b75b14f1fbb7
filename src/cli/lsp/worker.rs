//! Evaluates releases beside the conversation, and tells the editor what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use lsp_types::{
    DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString,
    PublishDiagnosticsParams, Uri,
};

use super::knowledge::Knowledge;
use super::position;
use crate::base::{Diagnostic, HostPath, Place, ReleasePath, Span};
use crate::spec::loader::{Dirs, Folder, Loader as _, MAX_TEXT, Overlay};
use crate::spec::release;

/// A release as it is on the editor's screen.
pub struct Job {
    /// The release folder.
    pub folder: HostPath,
    /// Its open files.
    pub open: BTreeMap<ReleasePath, Open>,
    /// Whether files may have changed on disk.
    pub changed_on_disk: bool,
}

/// An open file.
#[derive(Clone)]
pub struct Open {
    /// What the editor calls it.
    pub uri: Uri,
    /// Its version.
    pub version: i32,
    /// Its text.
    pub text: Arc<str>,
}

/// Where hints go: to a list of their own, or into the message for editors that show no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hints {
    /// Related information.
    Related,
    /// The message.
    Message,
}

/// What is known of each release folder.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<BTreeMap<HostPath, Arc<Knowledge>>>>);

impl Known {
    /// What is known of a release; of none, the language.
    pub fn of(&self, folder: Option<&HostPath>) -> Arc<Knowledge> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = folder.and_then(|folder| known.get(folder).cloned());
        drop(known);
        found.unwrap_or_else(|| Arc::new(Knowledge::of_language()))
    }

    fn put(&self, folder: &HostPath, knowledge: Knowledge) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(folder.clone(), Arc::new(knowledge));
    }
}

/// Starts the thread that evaluates; it ends when no more jobs can come. What it learns goes to
/// `known`, what is wrong to `publish`.
///
/// # Errors
/// The system has no thread left.
pub fn start(
    known: Known,
    store: Option<HostPath>,
    hints: Hints,
    publish: impl Fn(PublishDiagnosticsParams) + Send + 'static,
) -> std::io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let mut worker =
        Worker { known, store, hints, publish, dirs: BTreeMap::new(), published: BTreeMap::new() };
    thread::Builder::new().name("evaluation".to_owned()).spawn(move || {
        while let Ok(job) = jobs.recv() {
            let mut newest: BTreeMap<HostPath, Job> = BTreeMap::new();
            for mut job in std::iter::once(job).chain(jobs.try_iter()) {
                if let Some(older) = newest.get(&job.folder) {
                    job.changed_on_disk |= older.changed_on_disk;
                }
                newest.insert(job.folder.clone(), job);
            }
            for job in newest.into_values() {
                worker.work(&job);
            }
        }
    })?;
    Ok(sender)
}

struct Worker<P> {
    known: Known,
    store: Option<HostPath>,
    hints: Hints,
    publish: P,
    dirs: BTreeMap<HostPath, Dirs>,
    /// The files that something was said about.
    published: BTreeMap<HostPath, BTreeSet<ReleasePath>>,
}

impl<P: Fn(PublishDiagnosticsParams)> Worker<P> {
    fn work(&mut self, job: &Job) {
        if job.changed_on_disk {
            self.dirs.remove(&job.folder);
        }
        let dirs = self.dirs.entry(job.folder.clone()).or_default().clone();
        let texts = job.open.iter().map(|(path, open)| (path.clone(), Arc::clone(&open.text)));
        let below = Folder::new(job.folder.clone());
        let loader = Arc::new(Overlay::new(below, texts.collect(), dirs));
        let before = self.known.of(Some(&job.folder));
        let (mut knowledge, diagnostics) = before.renew(&loader);
        self.known.put(&job.folder, knowledge.clone());
        // What is wrong already is told before a large index is read.
        self.tell(job, &loader, &diagnostics);
        let store = self.store.as_ref().filter(|_| knowledge.lacks_archives());
        if store.is_some_and(|store| knowledge.learn(store)) {
            let (knowledge, diagnostics) = knowledge.renew(&loader);
            self.known.put(&job.folder, knowledge);
            self.tell(job, &loader, &diagnostics);
        }
    }

    /// Publishes what is wrong, file by file; for open files and those that are mended also that
    /// nothing is.
    fn tell(&mut self, job: &Job, loader: &Overlay, diagnostics: &[Diagnostic]) {
        let mut by_file: BTreeMap<ReleasePath, Vec<lsp_types::Diagnostic>> =
            job.open.keys().map(|path| (path.clone(), Vec::new())).collect();
        let before = self.published.remove(&job.folder).unwrap_or_default();
        for path in before {
            by_file.entry(path).or_default();
        }
        let mut files = Files { job, loader, texts: BTreeMap::new() };
        for diagnostic in diagnostics {
            let (path, converted) = files.convert(diagnostic, self.hints);
            by_file.entry(path).or_default().push(converted);
        }
        let said = by_file.iter().filter(|(_, diagnostics)| !diagnostics.is_empty());
        let said = said.map(|(path, _)| path.clone()).collect();
        self.published.insert(job.folder.clone(), said);
        for (path, diagnostics) in by_file {
            let version = job.open.get(&path).map(|open| open.version);
            if let Some(uri) = files.uri(&path) {
                (self.publish)(PublishDiagnosticsParams { uri, diagnostics, version });
            }
        }
    }
}

/// The files that diagnostics speak of.
struct Files<'a> {
    job: &'a Job,
    loader: &'a Overlay,
    texts: BTreeMap<ReleasePath, String>,
}

impl Files<'_> {
    fn uri(&self, path: &ReleasePath) -> Option<Uri> {
        match self.job.open.get(path) {
            Some(open) => Some(open.uri.clone()),
            None => position::uri(&position::plain(self.job.folder.join(path.as_str()).as_path())),
        }
    }

    fn range(&mut self, span: &Span) -> lsp_types::Range {
        let loader = self.loader;
        let text = self.texts.entry(span.file.clone()).or_insert_with(|| {
            let bytes = loader.read(&span.file, 16 * MAX_TEXT).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        position::span_range(text, span)
    }

    fn related(&mut self, span: &Span, message: String) -> Option<DiagnosticRelatedInformation> {
        let location = Location::new(self.uri(&span.file)?, self.range(span));
        Some(DiagnosticRelatedInformation { location, message })
    }

    /// A diagnostic as editors show it, and the file that it belongs to.
    fn convert(
        &mut self,
        diagnostic: &Diagnostic,
        hints: Hints,
    ) -> (ReleasePath, lsp_types::Diagnostic) {
        let whole = Place {
            span: Span {
                file: release::FILE.parse().expect("a plain name"),
                line: 1,
                column: 1,
                length: 0,
            },
            label: String::new(),
        };
        let mut places = diagnostic.places.iter();
        let first = places.next().unwrap_or(&whole);
        let mut message = diagnostic.message.clone();
        if !first.label.is_empty() {
            message.push_str(": ");
            message.push_str(&first.label);
        }
        let mut related = Vec::new();
        for Place { span, label } in places {
            let label = if label.is_empty() { "here" } else { label };
            related.extend(self.related(span, label.to_owned()));
        }
        for hint in &diagnostic.hints {
            match hints {
                Hints::Related => related.extend(self.related(&first.span, hint.clone())),
                Hints::Message => {
                    message.push_str("\nhelp: ");
                    message.push_str(hint);
                }
            }
        }
        // What only `lock` can mend is no mistake of who writes.
        let severity = match diagnostic.code {
            "unpinned" => DiagnosticSeverity::WARNING,
            _ => DiagnosticSeverity::ERROR,
        };
        let converted = lsp_types::Diagnostic {
            range: self.range(&first.span),
            severity: Some(severity),
            code: Some(NumberOrString::String(diagnostic.code.to_owned())),
            source: Some("perestroika".to_owned()),
            message,
            related_information: (!related.is_empty()).then_some(related),
            ..lsp_types::Diagnostic::default()
        };
        (first.span.file.clone(), converted)
    }
}

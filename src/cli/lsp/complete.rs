//! What may stand where the cursor is.

use std::collections::BTreeMap;
use std::ops::Range;

use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionList, CompletionTextEdit, Documentation,
    MarkupContent, MarkupKind, TextEdit,
};

use super::cursor::{Definition, Owner, Place, Role, definitions};
use super::position;
use super::view::{Callable, View};
use crate::spec::language::{self, Field, Function};
use crate::spec::release::Release;

/// How many names of an archive or files of a folder are offered at once.
const MOST: usize = 100;

/// What may stand at the cursor. The list is to be asked for again when it was cut off.
pub fn complete(view: &View<'_>) -> CompletionList {
    let mut offers = Offers { view, items: Vec::new(), cut_off: false };
    if !view.cursor.in_comment() {
        match view.named() {
            Some((role, name, bytes)) => offers.names(role, name, bytes),
            None if view.cursor.string().is_some() => {}
            None => offers.words(),
        }
    }
    CompletionList { is_incomplete: offers.cut_off, items: offers.items }
}

struct Offers<'a> {
    view: &'a View<'a>,
    items: Vec<CompletionItem>,
    cut_off: bool,
}

/// A thing to be offered.
struct Offer<'a> {
    label: &'a str,
    kind: CompletionItemKind,
    detail: String,
    doc: &'a str,
    /// What is put in place of the label.
    insert: String,
    /// Lower ones come first.
    rank: u8,
}

impl Offers<'_> {
    fn add(&mut self, bytes: &Range<usize>, offer: Offer<'_>) {
        let Offer { label, kind, detail, doc, insert, rank } = offer;
        let edit = TextEdit::new(position::range(self.view.text, bytes.clone()), insert);
        self.items.push(CompletionItem {
            label: label.to_owned(),
            kind: Some(kind),
            detail: Some(detail).filter(|detail| !detail.is_empty()),
            documentation: (!doc.is_empty()).then(|| {
                let value = doc.to_owned();
                Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value })
            }),
            sort_text: Some(format!("{rank}{label}")),
            filter_text: Some(label.to_owned()),
            text_edit: Some(CompletionTextEdit::Edit(edit)),
            ..CompletionItem::default()
        });
    }

    fn words(&mut self) {
        let bytes = self.view.cursor.partial();
        match self.view.cursor.place() {
            Place::Key(owner) => {
                let fields = match owner {
                    Owner::Package => language::fields(),
                    Owner::Part(name) => language::parts(name),
                };
                self.fields(&bytes, &fields);
            }
            Place::Parameter => self.parameters(&bytes),
            Place::Method => {
                let methods = language::methods().into_iter().map(Callable::native);
                self.functions(&bytes, &methods.collect::<Vec<_>>());
            }
            Place::Module(alias) => {
                self.functions(&bytes, &self.view.callables_of(alias));
            }
            Place::Value => self.values(&bytes),
        }
    }

    fn fields(&mut self, bytes: &Range<usize>, fields: &[Field]) {
        let given = self.view.cursor.keys();
        let colon = if self.view.cursor.is_key() { "" } else { ": " };
        // In the order they are usually written in.
        for (index, field) in fields.iter().enumerate() {
            if !given.contains(&field.name) {
                self.add(
                    bytes,
                    Offer {
                        label: field.name,
                        kind: CompletionItemKind::FIELD,
                        detail: field.value.to_owned(),
                        doc: field.doc,
                        insert: format!("{}{colon}", field.name),
                        rank: index.min(200) as u8,
                    },
                );
            }
        }
    }

    fn parameters(&mut self, bytes: &Range<usize>) {
        let Some(release) = &self.view.known.release else { return };
        for (name, value) in parameters(release) {
            self.add(
                bytes,
                Offer {
                    label: name,
                    kind: CompletionItemKind::PROPERTY,
                    detail: value,
                    doc: "",
                    insert: name.to_owned(),
                    rank: 0,
                },
            );
        }
    }

    /// Functions; those of one name, which take different arguments, are one offer.
    fn functions(&mut self, bytes: &Range<usize>, callables: &[Callable<'_>]) {
        let mut offered: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
        for Callable { function, .. } in callables {
            offered.entry(&function.name).or_default().push(function);
        }
        for (name, overloads) in offered {
            let ways = |part: fn(&Function) -> &str, between: &str| {
                overloads.iter().map(|it| part(it)).collect::<Vec<_>>().join(between)
            };
            let signatures = ways(|it| &it.signature, " | ");
            let is_property = signatures == name;
            self.add(
                bytes,
                Offer {
                    label: name,
                    kind: match is_property {
                        true => CompletionItemKind::PROPERTY,
                        false => CompletionItemKind::FUNCTION,
                    },
                    detail: signatures,
                    doc: &ways(|it| &it.doc, "\n\n"),
                    insert: name.to_owned(),
                    rank: 1,
                },
            );
        }
    }

    fn values(&mut self, bytes: &Range<usize>) {
        self.functions(bytes, &self.view.callables());
        for module in self.view.namespaces() {
            self.add(
                bytes,
                Offer {
                    label: &module.name,
                    kind: CompletionItemKind::MODULE,
                    detail: "module of the stdlib".to_owned(),
                    doc: &language::about(&module.text),
                    insert: module.name.clone(),
                    rank: 1,
                },
            );
        }
        let partial = self.view.cursor.whole_word().map(|(_, bytes)| bytes.start);
        for (name, at, definition) in definitions(self.view.text) {
            let detail = match definition {
                Definition::Variable => String::new(),
                Definition::Module(path) => path.to_owned(),
                Definition::Function => continue,
            };
            if Some(at) != partial {
                let kind = CompletionItemKind::VARIABLE;
                let insert = name.to_owned();
                self.add(bytes, Offer { label: name, kind, detail, doc: "", insert, rank: 0 });
            }
        }
        let release = Offer {
            label: "release",
            kind: CompletionItemKind::CONSTANT,
            detail: "name, version and [parameters] of release.toml".to_owned(),
            doc: "",
            insert: "release".to_owned(),
            rank: 2,
        };
        self.add(bytes, release);
    }

    /// Names in a string, of which `name` is what is written so far.
    fn names(&mut self, role: Role, name: &str, bytes: Range<usize>) {
        let (content, start, at) = self.view.cursor.string().unwrap_or_default();
        let written = name.get(..(start + at).saturating_sub(bytes.start)).unwrap_or(name);
        match role {
            Role::Dependencies | Role::Binary => {
                self.own_binaries(&bytes);
                self.archive_binaries(&bytes, written);
            }
            Role::Source => self.archive_sources(&bytes, written),
            Role::Package => self.packages(&bytes),
            Role::Folder | Role::File => self.files(role, &bytes, written),
            Role::Module => self.modules(&bytes),
            Role::Root | Role::Architecture => {
                let Some(release) = &self.view.known.release else { return };
                let names: Vec<&str> = match role {
                    Role::Root => release.roots.keys().map(String::as_str).collect(),
                    _ => release.architectures.iter().map(|name| name.as_str()).collect(),
                };
                for name in names {
                    self.name(&bytes, name, CompletionItemKind::VALUE, String::new(), 0);
                }
            }
        }
        debug_assert!(at <= content.len(), "the cursor is in the string");
    }

    fn name(
        &mut self,
        bytes: &Range<usize>,
        label: &str,
        kind: CompletionItemKind,
        detail: String,
        rank: u8,
    ) {
        let insert = label.to_owned();
        self.add(bytes, Offer { label, kind, detail, doc: "", insert, rank });
    }

    fn own_binaries(&mut self, bytes: &Range<usize>) {
        let Some(graph) = &self.view.known.graph else { return };
        for (_, package) in graph.packages() {
            for binary in &package.binaries {
                let detail = format!("{} of this release", package.version);
                self.name(bytes, binary.as_str(), CompletionItemKind::MODULE, detail, 0);
            }
        }
    }

    fn archive_binaries(&mut self, bytes: &Range<usize>, written: &str) {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        // An index that is still being read has more to offer when asked again.
        self.cut_off |= self.view.known.archives.is_empty();
        for archive in self.view.known.archives.values() {
            let like = archive.binaries_like(written, MOST);
            self.cut_off |= like.len() == MOST;
            for name in like {
                let summary = archive.summary(name.as_str()).to_owned();
                found.entry(name.to_string()).or_insert(summary);
            }
        }
        let own: Vec<String> = self.items.iter().map(|item| item.label.clone()).collect();
        for (name, summary) in found {
            if !own.contains(&name) {
                self.name(bytes, &name, CompletionItemKind::MODULE, summary, 1);
            }
        }
    }

    fn archive_sources(&mut self, bytes: &Range<usize>, written: &str) {
        self.cut_off |= self.view.known.archives.is_empty();
        for (archive_name, archive) in &self.view.known.archives {
            let like = archive.sources_like(written, MOST);
            self.cut_off |= like.len() == MOST;
            for (name, version) in like {
                let detail = format!("{version} of {archive_name}");
                self.name(bytes, name.as_str(), CompletionItemKind::MODULE, detail, 0);
            }
        }
    }

    fn packages(&mut self, bytes: &Range<usize>) {
        let Some(spec) = &self.view.known.spec else { return };
        for package in &spec.packages {
            let detail = package.span.file.to_string();
            self.name(bytes, package.name.as_str(), CompletionItemKind::MODULE, detail, 0);
        }
    }

    /// What is in the folder of a path that is being written.
    fn files(&mut self, role: Role, bytes: &Range<usize>, written: &str) {
        let folder = written.rsplit_once('/').map_or("", |(folder, _)| folder);
        let inside = !folder.split('/').any(|part| part == "..") && !folder.starts_with('/');
        let Some(release) = self.view.folder.filter(|_| inside) else { return };
        let entries = std::fs::read_dir(release.join(folder).as_path()).into_iter().flatten();
        let mut found: BTreeMap<String, bool> = BTreeMap::new();
        for entry in entries.flatten().take(10 * MOST) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !name.starts_with('.') && (is_folder || role == Role::File) {
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                found.insert(path, is_folder);
            }
        }
        for (path, is_folder) in found.into_iter().take(MOST) {
            let kind = match is_folder {
                true => CompletionItemKind::FOLDER,
                false => CompletionItemKind::FILE,
            };
            self.name(bytes, &path, kind, String::new(), 0);
        }
    }

    fn modules(&mut self, bytes: &Range<usize>) {
        let Some(release) = self.view.folder else { return };
        let entries = std::fs::read_dir(release.join("lib").as_path()).into_iter().flatten();
        for entry in entries.flatten().take(MOST) {
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(name) = name.strip_suffix(".rhai") {
                let path = format!("lib/{name}");
                self.name(bytes, &path, CompletionItemKind::MODULE, String::new(), 0);
            }
        }
    }
}

/// What `release.NAME` can be, and what it is.
pub fn parameters(release: &Release) -> Vec<(&str, String)> {
    let own = [("name", &release.name), ("version", &release.version)];
    let own = own.into_iter().map(|(name, value)| (name, format!("\"{value}\"")));
    let given = release.parameters.iter().map(|(name, value)| (name.as_str(), value.to_string()));
    own.chain(given).collect()
}

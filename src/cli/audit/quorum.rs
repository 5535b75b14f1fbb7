//! `audit quorum`: whether enough trusted builders came to the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::closure::shortened;
use super::provenance::known;
use super::{Asked, unread};
use crate::audit::bundle::{self, Bundle, Name, Signed};
use crate::audit::provenance::statement::{Made, PAYLOAD_TYPE, Word};
use crate::audit::quorum::{Builders, Judged, Quorum, Verdict, judge};
use crate::base::{Diagnostic, HostPath, Json, KeyError, PublicKey, Sha256, dsse};
use crate::cli::arguments::{AuditQuorum, Global};
use crate::cli::bundle::failed;
use crate::cli::cause::few;
use crate::cli::context::Release;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{CommandResult, Output};
use crate::cli::report::count;
use crate::spec::model::Located;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 28;
/// The largest envelope.
const LARGEST_ENVELOPE: usize = 32 << 20;
/// The largest file of a key.
const LARGEST_KEY: u64 = 4096;
/// The most files that are read.
const MOST_FILES: usize = 100_000;
/// How deep folders are searched.
const DEEPEST: usize = 8;
/// How the names of files end that are looked for in folders.
const STATEMENTS: [&str; 4] = [".provenance.json", ".jsonl", ".records", ".perestroika"];
/// How many packages that nobody disputes are told one by one.
const TOLD: usize = 20;
/// How many statements that do not count are told.
const TOLD_IGNORED: usize = 5;

/// Holds what builders say of a release against each other.
pub fn run(arguments: &AuditQuorum, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let asked = Asked::new(&arguments.words.words, global).map_err(wrong)?;
    let Some(trusted) = trusted(&asked.release).map_err(wrong)? else {
        let file = asked.release.folder.join("release.toml");
        let failure =
            Failure::input("no-trust", format!("`{file}` says of no builder to trust it"))
                .hint("write `[trust]` with `builders = [\"keys/a.pub\"]` and `need = 1`");
        return Err(wrong(failure));
    };
    of(&asked, &trusted, &arguments.statements, output)
}

/// The same for a release that may trust nobody: nothing is asked of it then.
pub fn run_where_asked(words: &[String], global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let asked = Asked::new(words, global).map_err(wrong)?;
    match trusted(&asked.release).map_err(wrong)? {
        Some(trusted) => of(&asked, &trusted, &[], output),
        None => {
            output.text("no quorum: release.toml has no `[trust]`\n");
            Ok(Value::Null)
        }
    }
}

fn of(asked: &Asked, trusted: &Trusted, paths: &[PathBuf], output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let heard = Heard::new(asked, trusted, paths).map_err(wrong)?;
    let mut quorum = judge(&asked.graph, &heard.words, trusted.need);
    quorum.packages.retain(|one| asked.wanted.contains(&one.derivation));
    let told = Told { asked, trusted, heard: &heard, quorum: &quorum };
    output.text(&told.text());
    let document = told.document();
    match told.failure() {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

/// The builders that a release trusts.
pub struct Trusted {
    /// The files of their keys, and the keys, each once, in the order of release.toml.
    builders: Vec<(String, PublicKey)>,
    /// How many of them have to agree.
    need: usize,
}

/// Reads the keys of the builders that a release trusts; nothing if it says of none.
pub fn trusted(release: &Release) -> Result<Option<Trusted>, Failure> {
    let Some(trust) = &release.spec.release.trust else { return Ok(None) };
    let mut trusted = Trusted { builders: Vec::new(), need: trust.need.value };
    let mut wrong = Vec::new();
    for Located { value, span } in &trust.builders {
        match read_key(release.folder.join(value.as_str()).as_path()) {
            Ok(key) if trusted.builders.iter().any(|(_, known)| *known == key) => {}
            Ok(key) => trusted.builders.push((value.to_string(), key)),
            Err(why) => {
                let message = format!("cannot use the key `{value}`: {why}");
                wrong.push(Diagnostic::new("bad-key", message).at(span.clone(), ""));
            }
        }
    }
    let there = trusted.builders.len();
    if wrong.is_empty() && there < trusted.need {
        let need = trusted.need;
        let message = format!("{need} builders cannot agree: the files hold {there} keys");
        wrong.push(Diagnostic::new("bad-value", message).at(trust.need.span.clone(), ""));
    }
    if wrong.is_empty() {
        Ok(Some(trusted))
    } else {
        Err(Failure::in_release(&release.folder, wrong))
    }
}

fn read_key(path: &Path) -> Result<PublicKey, String> {
    let mut text = Vec::new();
    let (file, _) = bundle::open_plain(&HostPath::new(path)).map_err(|error| error.to_string())?;
    file.take(LARGEST_KEY).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text);
    if text.contains("PRIVATE KEY") {
        return Err("it is a secret key, which belongs into its store alone".to_owned());
    }
    text.parse().map_err(|error: KeyError| error.to_string())
}

impl Trusted {
    fn builder(&self, id: &Sha256) -> Option<&(String, PublicKey)> {
        self.builders.iter().find(|(_, key)| key.id() == *id)
    }

    /// The files of these, in the order of release.toml.
    fn names(&self, builders: &Builders) -> Vec<&str> {
        let there = self.builders.iter().filter(|(_, key)| builders.contains(&key.id()));
        there.map(|(file, _)| file.as_str()).collect()
    }

    fn list(&self, builders: &Builders) -> String {
        self.names(builders).join(", ")
    }
}

/// What was said.
struct Heard {
    /// By trusted builders, each thing once.
    words: BTreeSet<Word>,
    /// Where other statements are, and why they do not count.
    ignored: Vec<(String, String)>,
    /// The name of this store's key, if it has one.
    own: Option<Sha256>,
}

impl Heard {
    fn new(asked: &Asked, trusted: &Trusted, paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut heard = Self { words: BTreeSet::new(), ignored: Vec::new(), own: None };
        heard.own_builds(asked, trusted)?;
        for path in paths {
            for file in files(path)? {
                heard.file(&file, trusted)?;
            }
        }
        Ok(heard)
    }

    /// What this store built.
    fn own_builds(&mut self, asked: &Asked, trusted: &Trusted) -> Result<(), Failure> {
        let world = asked.machine.world();
        let store = world.store;
        let key = store.builder_key().map_err(|error| unread(&error))?;
        self.own = key.map(|key| key.id());
        let Some(own) = self.own.filter(|own| trusted.builder(own).is_some()) else {
            return Ok(());
        };
        let made = store.made_records().map_err(|error| unread(&error))?;

        let everything: Vec<_> = asked.graph.packages().map(|(node, _)| node.id).collect();
        let built = known(asked, &everything)?.built;
        let built = built.iter().filter(|build| made.contains(&build.digest));
        let words = built.map(|build| Word::of_record(&build.record, &build.action, own));
        self.words.extend(words.flatten());
        Ok(())
    }

    /// What a file has: a bundle's records, an envelope, or one in each line.
    fn file(&mut self, path: &Path, trusted: &Trusted) -> Result<(), Failure> {
        let absolute = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
        let absolute = HostPath::new(absolute);
        if Bundle::is_one(&absolute) {
            return match self.bundle(&absolute, trusted) {
                Err(error) if error.is_of_the_bundle() => {
                    self.ignored.push((path.display().to_string(), chain(&error)));
                    Ok(())
                }
                read => read.map_err(failed),
            };
        }
        let mut bytes = Vec::new();
        let read = bundle::open_plain(&HostPath::new(path))
            .and_then(|(file, _)| file.take(LARGEST + 1).read_to_end(&mut bytes));
        read.map_err(|error| unreadable(path, &error))?;
        let place = path.display().to_string();
        if bytes.len() as u64 > LARGEST {
            let message = format!("`{place}` is too large: {LARGEST} bytes are read at most");
            return Err(Failure::input("statements", message));
        }
        if bytes.len() <= LARGEST_ENVELOPE && Json::read(&bytes).is_ok() {
            self.envelope(&bytes, place, trusted);
            return Ok(());
        }
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let several = lines.iter().filter(|line| !line.trim_ascii().is_empty()).count() > 1;
        for (number, line) in (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty()) {
            let place = if several { format!("{place}:{number}") } else { place.clone() };
            self.envelope(line, place, trusted);
        }
        Ok(())
    }

    /// What records of a bundle say, whoever made that, as far as trusted builders signed them.
    fn bundle(&mut self, path: &HostPath, trusted: &Trusted) -> bundle::Result<()> {
        let bundle = Bundle::open(path)?;
        let structure = bundle::verify(&bundle, &|_, _| {}, &AtomicBool::new(false))?.structure;
        for Signed { action, digest, record, signatures, .. } in &structure.records {
            let place = format!("{path}: record {}", digest.short());
            let Some(member) = bundle.index.member(&Name::Document(action.digest())) else {
                self.ignored.push((place, "its action is in another bundle".to_owned()));
                continue;
            };
            let action = bundle.document(member)?;
            let trusted = signatures.iter().filter(|(id, _)| trusted.builder(id).is_some());
            let words = trusted.filter_map(|(id, _)| Word::of_record(record, &action, *id));
            let words: Vec<Word> = words.collect();
            if words.is_empty() {
                let why = "nobody whom the release trusts signed it".to_owned();
                self.ignored.push((place, why));
            }
            self.words.extend(words);
        }
        Ok(())
    }

    /// How many statements a builder has made.
    fn of(&self, builder: &Sha256) -> usize {
        self.words.iter().filter(|word| word.builder == *builder).count()
    }

    fn envelope(&mut self, bytes: &[u8], place: String, trusted: &Trusted) {
        match word(bytes, trusted) {
            Ok(word) => drop(self.words.insert(word)),
            Err(why) => self.ignored.push((place, why)),
        }
    }
}

/// The word of a trusted builder, or why it is none. Nothing is told of what nobody signed whom the
/// release trusts.
fn word(bytes: &[u8], trusted: &Trusted) -> Result<Word, String> {
    if bytes.len() > LARGEST_ENVELOPE {
        return Err(format!("it is larger than {LARGEST_ENVELOPE} bytes"));
    }
    let envelope = Json::read(bytes).ok();
    let signed = envelope.and_then(|envelope| Some((dsse::signer(&envelope)?, envelope)));
    let Some((signer, envelope)) = signed else {
        return Err("it is no envelope of a signed statement".to_owned());
    };
    let Some((file, key)) = trusted.builder(&signer) else {
        return Err(format!("it is signed by {signer}, whom the release does not trust"));
    };
    let payload = dsse::open(&envelope, PAYLOAD_TYPE, key);
    let payload = payload.ok_or_else(|| {
        format!("it is no statement of type `{PAYLOAD_TYPE}` that `{file}` signed")
    })?;
    let word = Word::read(&payload).map_err(|error| chain(&error))?;
    match word.builder == signer {
        true => Ok(word),
        false => Err(format!("`{file}` signed it in the name of {}", word.builder)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read `{}`", path.display());
    Failure::input("statements", message).because(error.to_string())
}

/// The file at a path, or those with statements in the folder there, in their order.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let there = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !there.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    search(path, 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error: &std::io::Error| unreadable(folder, error);
    for entry in fs::read_dir(folder).map_err(|error| unreadable(&error))? {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let kind = entry.file_type().map_err(|error| unreadable(&error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() && depth < DEEPEST {
            search(&entry.path(), depth + 1, found)?;
        } else if kind.is_file() && STATEMENTS.iter().any(|end| name.ends_with(end)) {
            found.push(entry.path());
        }
        if found.len() > MOST_FILES {
            let message = format!("`{}` has more than {MOST_FILES} files", folder.display());
            return Err(Failure::input("statements", message));
        }
    }
    Ok(())
}

/// What is told of it all.
struct Told<'a> {
    asked: &'a Asked,
    trusted: &'a Trusted,
    heard: &'a Heard,
    quorum: &'a Quorum,
}

impl Told<'_> {
    fn text(&self) -> String {
        let Self { asked, trusted, heard, quorum } = self;
        let spec = &asked.release.spec.release;
        let id = asked.graph.release().short();
        let mut text = format!("{} {} · {id}\n", spec.name, spec.version);
        let (need, all) = (trusted.need, count(trusted.builders.len(), "builder"));
        let _ = writeln!(text, "{need} of {all} have to agree");
        let width = trusted.builders.iter().map(|(file, _)| file.chars().count()).max();
        for (file, key) in &trusted.builders {
            let (id, width) = (key.id(), width.unwrap_or(0));
            let said = count(heard.of(&id), "statement");
            let own = if heard.own == Some(id) { ", this store's" } else { "" };
            let _ = writeln!(text, "  {file:width$}  {id}  {said}{own}");
        }
        text.push('\n');
        let mut plain = 0;
        for one in &quorum.packages {
            let dissents = one.dissenters();
            if one.verdict == Verdict::Agreed && dissents.is_empty() {
                plain += 1;
                if plain > TOLD {
                    continue;
                }
            }
            self.package(&mut text, one, &dissents);
        }
        if plain > TOLD {
            let _ = writeln!(text, "and {} more that are agreed on", plain - TOLD);
        }
        if quorum.unrelated > 0 {
            let statements = count(quorum.unrelated, "statement");
            let _ = writeln!(text, "\n{statements} of nothing that the release builds now");
        }
        if !heard.ignored.is_empty() {
            let _ = writeln!(text, "\nnot counted: {}", count(heard.ignored.len(), "statement"));
            for (place, why) in heard.ignored.iter().take(TOLD_IGNORED) {
                let _ = writeln!(text, "  {place}: {why}");
            }
            if heard.ignored.len() > TOLD_IGNORED {
                let _ = writeln!(text, "  and {} more", heard.ignored.len() - TOLD_IGNORED);
            }
        }
        text
    }

    fn package(&self, text: &mut String, one: &Judged, dissents: &Builders) {
        let trusted = self.trusted;
        let package = self.asked.graph.node(one.derivation);
        let package = package.and_then(|node| node.derivation.package());
        let (name, version) =
            package.map_or(("", ""), |package| (package.name.as_str(), &*package.version));
        let said = count(one.builders.len(), "builder");
        let _ = write!(text, "{:9} ", one.verdict.as_str());
        let _ = write!(text, "{:22} {:22} {said}", shortened(name), shortened(version));
        if !dissents.is_empty() {
            let verb = if dissents.len() == 1 { "dissents" } else { "dissent" };
            let _ = write!(text, ", {} {verb}", trusted.list(dissents));
        }
        text.push('\n');
        let disputed = one.files.iter().filter(|file| file.said.len() > 1);
        for file in disputed {
            let _ = writeln!(text, "            {}", file.name);
            for (made, builders) in &file.said {
                let made = made.map_or("no such file".to_owned(), |made| made.blake3.short());
                let _ = writeln!(text, "              {made}  {}", trusted.list(builders));
            }
        }
        for (action, builders) in &one.elsewhere {
            let (who, action) = (trusted.list(builders), action.short());
            let _ = writeln!(text, "            from other inputs ({action}): {who}");
        }
        if !one.torn.is_empty() {
            let who = trusted.list(&one.torn);
            let _ = writeln!(text, "            several things of the same: {who}");
        }
    }

    fn document(&self) -> Value {
        let Self { asked, trusted, heard, quorum } = self;
        let builders = trusted.builders.iter().map(|(file, key)| {
            json!({ "file": file, "id": key.id().to_string(), "statements": heard.of(&key.id()) })
        });
        let ignored = heard.ignored.iter().map(|(place, why)| json!({ "at": place, "why": why }));
        json!({
            "release": asked.release.document(&asked.graph),
            "need": trusted.need,
            "builders": builders.collect::<Vec<_>>(),
            "packages": quorum.packages.iter().map(|one| self.of(one)).collect::<Vec<_>>(),
            "unrelated": quorum.unrelated,
            "ignored": ignored.collect::<Vec<_>>(),
        })
    }

    fn of(&self, one: &Judged) -> Value {
        let package = self.asked.graph.node(one.derivation);
        let package = package.and_then(|node| node.derivation.package());
        let names = |builders: &Builders| self.trusted.names(builders);
        let digests = |made: &Made| json!({ "sha256": made.sha256.to_string(), "blake3": made.blake3.to_string() });
        let files = one.files.iter().map(|file| {
            let said = file.said.iter().map(|(made, builders)| {
                json!({ "made": made.as_ref().map(digests), "builders": names(builders) })
            });
            json!({
                "file": file.name,
                "verdict": file.verdict.as_str(),
                "said": said.collect::<Vec<_>>(),
            })
        });
        let elsewhere = one.elsewhere.iter().map(|(action, builders)| {
            json!({ "action": action.to_string(), "builders": names(builders) })
        });
        json!({
            "name": package.map(|package| package.name.as_str()),
            "version": package.map(|package| &package.version),
            "architecture": package.map(|package| package.architecture.as_str()),
            "derivation": one.derivation.to_string(),
            "verdict": one.verdict.as_str(),
            "action": one.action.map(|action| action.to_string()),
            "builders": names(&one.builders),
            "dissenters": names(&one.dissenters()),
            "outputs": files.collect::<Vec<_>>(),
            "elsewhere": elsewhere.collect::<Vec<_>>(),
            "torn": names(&one.torn),
        })
    }

    fn failure(&self) -> Option<Failure> {
        let of = |verdict| {
            let these = self.quorum.packages.iter().filter(move |one| one.verdict == verdict);
            let names = these.filter_map(|one| {
                let package = self.asked.graph.node(one.derivation)?.derivation.package()?;
                Some(package.name.as_str())
            });
            names.collect::<Vec<_>>()
        };
        let failed = |code, what: &str, names: Vec<&str>| {
            let names = few(names.into_iter());
            Failure::new(Kind::Result, code, format!("{what}: {names}"))
        };
        let disagree = of(Verdict::Disagree);
        let disagree = (!disagree.is_empty())
            .then(|| failed("disagree", "the builders do not agree on what was built", disagree));
        let few = of(Verdict::TooFew);
        let few = (!few.is_empty()).then(|| {
            failed("too-few", "too few builders say what was built", few)
                .hint("`--statements` reads what others wrote with `audit provenance -o`")
        });
        [disagree, few].into_iter().flatten().reduce(Failure::and)
    }
}

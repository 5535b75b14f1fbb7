//! `audit provenance`: what each package was built from, for other programs to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::closure::shortened;
use super::{Asked, unread};
use crate::audit::provenance::spdx::{self, Release};
use crate::audit::provenance::statement::{PAYLOAD_TYPE, statement};
use crate::audit::provenance::{Build, Builds, build_info, builds};
use crate::base::{DerivationId, Digest};
use crate::cli::arguments::{AuditProvenance, Global};
use crate::cli::build::default_options;
use crate::cli::cause::few;
use crate::cli::failure::{Failure, Kind};
use crate::cli::key;
use crate::cli::output::{CommandResult, Output};
use crate::cli::report::count;
use crate::realise::driver;
use crate::store::{BuilderKey, Store};

/// How many packages are told of one by one.
const TOLD: usize = 20;

/// Makes the files of the packages that are named, and writes them where that is asked for.
pub fn run(arguments: &AuditProvenance, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let asked = Asked::new(&arguments.words.words, global).map_err(wrong)?;
    let told = tell(&asked, arguments.output.as_deref(), output.wants_document());
    let Told { text, document, failure } = told.map_err(wrong)?;
    output.text(&text);
    match failure {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

/// What there is to tell of a release.
struct Told {
    text: String,
    document: Value,
    failure: Option<Failure>,
}

/// The builds of these packages of a release, as they count.
pub fn known<'a>(asked: &'a Asked, wanted: &[DerivationId]) -> Result<Builds<'a>, Failure> {
    let Asked { graph, machine, .. } = asked;
    let world = machine.world();
    let survey = driver::survey(&world, graph, wanted, &default_options());
    let survey = survey.map_err(|error| unread(&error))?;
    let there = survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1)));
    builds(&world, graph, wanted, &there.collect()).map_err(|error| unread(&error))
}

fn tell(asked: &Asked, folder: Option<&Path>, wants_document: bool) -> Result<Told, Failure> {
    let world = asked.machine.world();
    let store = world.store;
    let Builds { built, unbuilt } = known(asked, &asked.wanted)?;
    let own = store.made_records().map_err(|error| unread(&error))?;
    let signs = built.iter().any(|build| own.contains(&build.digest));
    let key = if signs { Some(key::builder(store)?) } else { None };
    let packages = asked.release.spec.packages.iter();
    let licenses: BTreeMap<String, String> = packages
        .filter_map(|package| Some((package.name.to_string(), package.license.clone()?)))
        .collect();
    let spec = &asked.release.spec.release;
    let release = Release {
        name: &spec.name,
        version: &spec.version,
        maintainer: &spec.maintainer,
        id: asked.graph.release(),
        licenses: &licenses,
    };
    let makes = folder.is_some() || wants_document;
    let (mut files, mut documents) = (Vec::new(), Vec::new());
    for build in built.iter().filter(|_| makes) {
        let made = Made::new(store, build, &release, key.as_ref(), &own)?;
        documents.push(made.document(build));
        files.extend(made.files);
    }
    let whole = (makes && !built.is_empty()).then(|| spdx::of_release(&built, &release));
    if let Some(document) = &whole {
        files.push((format!("{}_{}.spdx.json", spec.name, spec.version), pretty(document)));
    }
    if let Some(folder) = folder {
        write(folder, &files)?;
    }
    let id = asked.graph.release().short();
    let mut text = format!("{} {} · {id}\n\n", spec.name, spec.version);
    table(&mut text, &built, &own);
    if let Some(key) = &key {
        let _ = writeln!(text, "signed by {}", key.id());
    }
    if let Some(folder) = folder {
        let _ = writeln!(text, "{} in {}", count(files.len(), "file"), folder.display());
    }
    let foreign = built.iter().filter(|build| !own.contains(&build.digest));
    let failure = failure(&unbuilt, foreign.map(|build| build.package.name.as_str()));
    let document = json!({
        "release": asked.release.document(&asked.graph),
        "builder": key.map(|key| key.id().to_string()),
        "packages": documents,
        "unbuilt": unbuilt,
        "spdx": whole,
    });
    Ok(Told { text, document, failure })
}

fn table(text: &mut String, built: &[Build<'_>], own: &BTreeSet<Digest>) {
    let _ = writeln!(
        text,
        "{:22} {:22} {:15}  {:>7}  {:>10}",
        "package", "version", "record", "outputs", "build root"
    );
    for build in built.iter().take(TOLD) {
        let Build { package, record, digest, .. } = build;
        let (name, version) = (shortened(package.name.as_str()), shortened(&package.version));
        let (outputs, inputs) = (record.outputs.len(), build.inputs().count());
        let mark = if own.contains(digest) { "" } else { "  not built here" };
        let short = digest.short();
        let _ = writeln!(text, "{name:22} {version:22} {short}  {outputs:>7}  {inputs:>10}{mark}");
    }
    if built.len() > TOLD {
        let _ = writeln!(text, "and {} more", built.len() - TOLD);
    }
}

fn failure<'a>(unbuilt: &[String], foreign: impl Iterator<Item = &'a str>) -> Option<Failure> {
    let failed = |code, message: String| Failure::new(Kind::Result, code, message);
    let foreign: Vec<&str> = foreign.collect();
    let unbuilt = (!unbuilt.is_empty()).then(|| {
        let names = few(unbuilt.iter().map(String::as_str));
        failed("unbuilt", format!("not built as the release is now: {names}"))
            .hint("`perestroika build` builds what is missing")
    });
    let foreign = (!foreign.is_empty()).then(|| {
        let names = few(foreign.into_iter());
        failed("foreign", format!("not built with this store, so nothing is signed: {names}"))
            .hint("`audit quorum` reads what others say of their builds")
    });
    [unbuilt, foreign].into_iter().flatten().reduce(Failure::and)
}

/// What is made of one build.
struct Made {
    /// Name and content of each file.
    files: Vec<(String, Vec<u8>)>,
    envelope: Option<Value>,
    info: String,
    spdx: Value,
}

impl Made {
    fn new(
        store: &Store,
        build: &Build<'_>,
        release: &Release<'_>,
        key: Option<&BuilderKey>,
        own: &BTreeSet<Digest>,
    ) -> Result<Self, Failure> {
        let package = build.package;
        let version = match package.version.split_once(':') {
            Some((_, version)) => version,
            None => &package.version,
        };
        let stem = format!("{}_{version}_{}", package.name, package.architecture);
        let (info_name, info) = build_info(store, build).map_err(|error| unread(&error))?;
        let spdx = spdx::of_build(build, release);
        let mut files = vec![
            (info_name, info.clone().into_bytes()),
            (format!("{stem}.spdx.json"), pretty(&spdx)),
        ];
        // What others built is theirs to sign.
        let key = key.filter(|_| own.contains(&build.digest));
        let signed = key.map(|key| key.sign(PAYLOAD_TYPE, &statement(build, &key.id())).encode());
        let envelope =
            signed.as_ref().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default());
        if let Some(mut bytes) = signed {
            bytes.push(b'\n');
            files.push((format!("{stem}.provenance.json"), bytes));
        }
        Ok(Self { files, envelope, info, spdx })
    }

    fn document(&self, build: &Build<'_>) -> Value {
        json!({
            "name": build.package.name.as_str(),
            "version": build.package.version,
            "architecture": build.package.architecture.as_str(),
            "action": build.record.action.to_string(),
            "record": build.digest.to_string(),
            "provenance": self.envelope,
            "buildinfo": self.info,
            "spdx": self.spdx,
        })
    }
}

fn pretty(document: &Value) -> Vec<u8> {
    format!("{document:#}\n").into_bytes()
}

fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        let told = format!("cannot write `{}`", path.display());
        Failure::new(Kind::Machine, "system", told).because(error.to_string())
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

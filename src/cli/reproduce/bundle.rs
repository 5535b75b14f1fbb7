//! `reproduce BUNDLE`: everything of a bundle built anew, in a store that is thrown away, from
//! nothing but what the bundle has.

use std::path::Path;

use serde_json::Value;

use super::{Order, as_build, forecast, prove, variations};
use crate::audit::bundle::{self, Adopt, Bundle, Kind as Extent};
use crate::base::{Digest, HostPath, Json};
use crate::cli::arguments::{Global, Reproduce};
use crate::cli::build::Prepared;
use crate::cli::bundle::{certificate, demand, document, failed, open, told, with_bar};
use crate::cli::context::{Release, open_store};
use crate::cli::failure::{Failure, Kind};
use crate::cli::interrupt::cancel_on_interrupt;
use crate::cli::output::{CommandResult, Output};
use crate::store::{BuiltRelease, Store};

/// The bundle among these words, and the others.
pub fn among(words: &[String]) -> Option<(&Path, Vec<String>)> {
    let is_bundle = |word: &&String| {
        let path = Path::new(word);
        let has_name = path.extension().is_some_and(|extension| extension == "perestroika");
        !path.is_dir() && (has_name || Bundle::is_one(&HostPath::new(path)))
    };
    let bundle = words.iter().find(is_bundle)?;
    let names = words.iter().filter(|word| *word != bundle).cloned().collect();
    Some((Path::new(bundle), names))
}

/// Builds it.
pub fn run(
    file: &Path,
    names: &[String],
    arguments: &Reproduce,
    global: &Global,
    output: &Output,
) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    if arguments.queue || arguments.show {
        let message = "`--queue` and `--show` are about a store, not about a bundle";
        return Err(wrong(Failure::input("bundle", message)));
    }
    let bundle = open(file).map_err(wrong)?;
    demand(&bundle, arguments.key.as_deref()).map_err(wrong)?;
    if bundle.index.kind != Extent::Whole {
        let message = "only a whole bundle has all that it takes to build a release";
        return Err(wrong(Failure::input("bundle", message).hint(
            "`perestroika bundle import` brings a delta, and what it builds on, into a store",
        )));
    }
    let cancel = cancel_on_interrupt().map_err(wrong)?;
    let room = open_store(global)
        .and_then(|store| store.scratch().map_err(|error| failed(error.into())))
        .map_err(wrong)?;
    let store = room.path().join("store");
    // What is not in the bundle is not to be had.
    let inside =
        Global { store: Some(store.as_path().to_owned()), offline: true, ..global.clone() };
    let broken = |error: crate::store::Error| wrong(failed(error.into()));
    let there = Store::open(&store).map_err(broken)?;
    let brought =
        with_bar(global, "importing", |seen| bundle::bring(&bundle, &there, seen, &cancel));
    let structure = brought.map_err(wrong)?.structure;
    let folder = bundle::unfold(&bundle, &there, &room.path().join("release"));
    let folder = folder.map_err(|error| wrong(failed(error)))?;
    let graph = Release::load(&folder).and_then(|release| release.graph()).map_err(wrong)?;
    bundle::adopt(&bundle, &structure, &graph, &there, Adopt::All)
        .map_err(|error| wrong(failed(error)))?;
    let index = &bundle.index;
    let built = BuiltRelease {
        folder: folder.clone(),
        name: index.name.clone(),
        version: index.version.clone(),
        release: index.release,
        manifest: Some(index.manifest),
        built: jiff::Timestamp::now(),
    };
    there.register_release(&built).map_err(broken)?;
    output.summary(&told(&bundle, &structure, arguments.key.as_deref()));

    let build = as_build(arguments);
    let prepared = Prepared::new(&folder, names, &build, &inside).map_err(wrong)?;
    let options = prepared.options(&build);
    if arguments.dry_run {
        return forecast(&prepared, &options, output).map_err(wrong);
    }
    let vary = variations(&arguments.vary);
    let proved = prove(&prepared, &options, Order::Bundled, &vary, &inside, output);
    let (mut found, failure) = match proved {
        Ok(found) => (found, None),
        Err((found, failure)) => (found, Some(failure)),
    };
    let certificate = certificate(&prepared.machine.world(), &graph, global);
    let certified = certificate.and_then(|certificate| certified(&bundle, &certificate, output));
    let told = document(&bundle, Some(&structure));
    for key in ["bundle", "records", "journal", "closure"] {
        found[key] = told[key].clone();
    }
    found["certified"] = certified.is_ok().into();
    match [failure, certified.err()].into_iter().flatten().reduce(Failure::and) {
        None => Ok(found),
        Some(failure) => Err((found, failure)),
    }
}

/// That what the closure comes to here is what the bundle states.
fn certified(bundle: &Bundle, certificate: &Json, output: &Output) -> Result<(), Failure> {
    let (expected, actual) = (bundle.index.certificate, Digest::of(&certificate.encode()));
    let level = match certificate {
        Json::Object(members) => members.get("level"),
        _ => None,
    };
    let level = match level {
        Some(Json::String(level)) => level.as_str(),
        _ => "unknown",
    };
    if expected == actual {
        let (id, manifest) = (bundle.index.release.short(), bundle.index.manifest.short());
        output.summary(&format!(
            "release {id} · manifest {manifest} · closure {level}, certified anew: {}\n",
            actual.short()
        ));
        return Ok(());
    }
    let message = format!(
        "the closure certificate of the bundle is not what its content comes to, `{level}`\n  \
         expected {expected}\n  actual   {actual}"
    );
    Err(Failure::new(Kind::Result, "certificate", message))
}

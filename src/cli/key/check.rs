//! `key check`: what the keys of a release's suites are good for, here and now.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{places, public_file, unsigned};
use crate::base::HostPath;
use crate::cli::arguments::KeyCheck;
use crate::cli::context::{Release, Surveyed, named_one};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{CommandResult, Output};
use crate::publish::sign::{Places, Signers, WARN_DAYS};

/// Looks at the keys of every suite.
pub fn run(command: &KeyCheck, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let release = load(&command.words).map_err(wrong)?;
    let places = places(&command.key_file).map_err(wrong)?;
    let at = Timestamp::now();
    let suites = &release.spec.release.suites;
    if suites.is_empty() {
        output.text("no suite is published to: `[publish.SUITE]` of release.toml names one\n");
    }
    let (mut all, mut failures) = (Vec::new(), Vec::<Failure>::new());
    for (suite, what) in suites {
        output.text(&format!("{suite}\n"));
        let mut keys = Vec::new();
        for key in &what.keys {
            let path = release.folder.join(key.value.as_str());
            let shown = key.value.as_str();
            match signers(path, &places, at) {
                Ok(signers) => keys.push(tell(shown, &signers, at, output)),
                Err(failure) => {
                    output.text(&format!("  {shown}  of no use\n"));
                    keys.push(json!({ "file": shown, "fingerprint": null }));
                    failures.push(failure);
                }
            }
        }
        all.push(json!({ "name": suite, "keys": keys }));
    }
    let document = json!({ "suites": all });
    match failures.into_iter().reduce(Failure::and) {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

/// Who signs with this key alone.
fn signers(path: HostPath, places: &Places, at: Timestamp) -> Result<Signers, Failure> {
    Signers::for_keys(&[public_file(path)?], places, at).map_err(|error| unsigned(&error))
}

/// What a key is good for, on the screen and for programs.
fn tell(file: &str, signers: &Signers, at: Timestamp, output: &Output) -> Value {
    let fit = &signers.fits()[0];
    let place = signers.places().remove(0);
    let end = fit.end.map_or_else(
        || "never expires".to_owned(),
        |end| format!("expires on {}", end.strftime("%F")),
    );
    let user = fit.user.as_deref().unwrap_or("nobody");
    output.text(&format!(
        "  {file}  {}  {end}\n    of {}\n    secret half: {place}\n",
        fit.fingerprint,
        user.escape_debug(),
    ));
    for warning in signers.warnings(at, WARN_DAYS) {
        output.note(&format!("warning: {warning}"));
    }
    json!({
        "file": file,
        "fingerprint": fit.fingerprint,
        "primary": fit.primary,
        "user": fit.user,
        "expires": fit.end.map(|end| end.to_string()),
        "secret": place,
    })
}

fn load(words: &[String]) -> Result<Release, Failure> {
    let (folder, names) = named_one(words)?;
    match names.first() {
        Some(name) => {
            let message = format!("`key check` takes a release folder, not `{name}`");
            Err(Failure::input("unexpected", message))
        }
        // Whatever is wrong with its specs, it is release.toml that names the keys.
        None => {
            let Surveyed { release, wrong, .. } = Release::survey(&folder)?;
            release.ok_or(Failure { kind: Kind::Input, problems: wrong })
        }
    }
}

//! `init`: a release that builds, in a new folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::address::slashed;
use super::arguments::{Distribution, Global, Init};
use super::context::Release;
use super::failure::{Failure, Kind};
use super::lock;
use super::output::{CommandResult, Output};
use crate::archive::deb::signature::{self, KeyName};
use crate::base::HostPath;
use crate::spec::release;

/// The keys that Debian signs the archives of [`Distribution`] with.
const KEYRING: &[u8] = include_bytes!("../../specs/demo/keys/debian.pgp");

/// Writes a release into a new folder and pins it.
pub fn run(arguments: &Init, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let absolute = std::path::absolute(&arguments.folder)
        .map_err(|error| wrong(Failure::error(Kind::Input, "folder", &error)))?;
    let folder = HostPath::new(absolute);
    refuse_foreign(&folder).map_err(wrong)?;
    let keys = signature::keys(KEYRING, jiff::Timestamp::now())
        .map_err(|error| wrong(Failure::error(Kind::Machine, "keyring", &error)))?;
    let files = files(&folder, arguments.archive);
    let paths: Vec<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    let mut document = json!({
        "folder": folder.to_string(),
        "files": paths,
        "keys": keys.iter().map(as_json).collect::<Vec<_>>(),
        "pinned": false,
    });
    if !arguments.dry_run {
        write(&folder, &files).map_err(|failure| (document.clone(), failure))?;
    }
    tell_files(&folder, &files, &keys, arguments, output);
    if arguments.dry_run {
        return Ok(document);
    }
    match pin(&folder, global, output) {
        Ok(pinned) => document["pinned"] = pinned.into(),
        Err(failure) => return Err((document, failure)),
    }
    let place = slashed(&folder);
    output.summary(&format!(
        "\nNext:\n  perestroika build {place}\n  perestroika add {place} ../my-project\n\
         Of what you keep, nothing but {place} was written: removing it undoes this.\n"
    ));
    Ok(document)
}

/// A release needs a folder of its own.
fn refuse_foreign(folder: &HostPath) -> Result<(), Failure> {
    let first = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Failure::input("folder", format!("cannot use `{folder}`: {error}"))
                .hint("name a new folder, or an empty one"));
        }
    };
    let Some(entry) = first else { return Ok(()) };
    let holds = entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let message = match holds {
        Ok(name) => format!("`{folder}` is not empty: it has `{name}`"),
        Err(error) => format!("cannot list `{folder}`: {error}"),
    };
    let failure = Failure::input("not-empty", message);
    Err(if folder.join(release::FILE).as_path().exists() {
        failure.hint("it is a release already: `perestroika add` gives it more packages")
    } else {
        failure.hint("name a new folder, or an empty one")
    })
}

/// The files of the new release, by path in its folder.
fn files(folder: &HostPath, distribution: Distribution) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("release.toml", release_toml(folder, distribution).into_bytes()),
        ("keys/debian.pgp", KEYRING.to_vec()),
        ("packages/hello.rhai", hello_spec().into_bytes()),
        ("src/hello/hello.c", text(HELLO)),
        ("src/hello/Makefile", text(MAKEFILE)),
        (".gitignore", text("/out/\n/repo/\n")),
    ]
}

fn release_toml(folder: &HostPath, distribution: Distribution) -> String {
    let name = release_name(folder.as_path());
    let written = |maintainer: &str| {
        let quoted = toml::Value::from(maintainer).to_string();
        let (suite, title) = match distribution {
            Distribution::Bookworm => ("bookworm", "Debian 12"),
            Distribution::Trixie => ("trixie", "Debian 13"),
        };
        format!(
            "[release]\n\
             name = \"{name}\"\n\
             version = \"1.0\"\n\
             maintainer = {quoted}\n\
             architectures = [\"{architecture}\"]\n\
             \n\
             # The upstream archive: {title}. `perestroika lock` pins it.\n\
             [archive.{suite}]\n\
             format = \"deb\"\n\
             suites = [\"{suite}\"]\n\
             components = [\"main\"]\n\
             keyring = \"keys/debian.pgp\"\n\
             \n\
             # What every build root has beside the essential packages.\n\
             [root.{suite}]\n\
             archive = \"{suite}\"\n\
             packages = [\"build-essential\", \"fakeroot\"]\n",
            architecture = architecture(),
        )
    };
    let own = maintainer().map(|maintainer| written(&maintainer));
    // What the user is called elsewhere need not be what a maintainer may be called.
    own.filter(|text| release::parse(text).is_ok())
        .unwrap_or_else(|| written("Release team <release@example.org>"))
}

/// The folder's name with what a release cannot be called left out.
fn release_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let fits = |c: &char| c.is_ascii_alphanumeric() || "._+~-".contains(*c);
    let name: String = name.chars().filter(fits).collect();
    let name = name.trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
    if name.is_empty() { "release".to_owned() } else { name.to_owned() }
}

/// This machine's architecture, as Debian calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        "riscv64" => "riscv64",
        "s390x" => "s390x",
        "x86" => "i386",
        _ => "amd64",
    }
}

/// How the user is called: by the variables of Debian's own tools, or else by git.
fn maintainer() -> Option<String> {
    let variable = |names: [&str; 2]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
    };
    let name = variable(["DEBFULLNAME", "NAME"]).or_else(|| git("user.name"))?;
    let address = variable(["DEBEMAIL", "EMAIL"]).or_else(|| git("user.email"))?;
    Some(format!("{name} <{address}>"))
}

fn git(key: &str) -> Option<String> {
    let output = Command::new("git")
        .args(["config", "--get", key])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}

fn hello_spec() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    format!(
        "package(#{{\n    \
             name: \"hello\",\n    \
             version: \"1.0\",\n    \
             summary: \"Greets the world\",\n    \
             license: \"MIT\",\n    \
             changes: #{{ date: \"{today}\", text: \"First package.\" }},\n    \
             source: dir(\"src/hello\"),\n    \
             build: script(#\"\n        \
                 make\n        \
                 make install DESTDIR=\"$DESTDIR\" PREFIX=/usr\n    \
             \"#),\n\
         }})\n"
    )
}

const HELLO: &str = r#"#include <stdio.h>

int main(void)
{
    puts("Hello, world!");
    return 0;
}
"#;

const MAKEFILE: &str = "\
PREFIX = /usr/local

hello: hello.c
\t$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $<

install: hello
\tinstall -D hello $(DESTDIR)$(PREFIX)/bin/hello
";

/// Writes all of the files or none: a folder with half of them would be no release, and could not
/// be begun again.
fn write(folder: &HostPath, files: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
    let is_new = !folder.as_path().exists();
    let mut written = Vec::new();
    let result = files.iter().try_for_each(|(path, bytes)| {
        let path = folder.join(path);
        let parent = path.as_path().parent().unwrap_or(folder.as_path());
        fs::create_dir_all(parent)
            .and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path))
            .and_then(|mut file| {
                written.push(path.clone());
                file.write_all(bytes)
            })
            .map_err(|error| {
                Failure::error(Kind::Machine, "write", &error)
                    .because(format!("`{path}` could not be written"))
            })
    });
    if result.is_err() && is_new {
        let _ = fs::remove_dir_all(folder);
    } else if result.is_err() {
        for path in &written {
            let _ = fs::remove_file(path);
        }
        for (path, _) in files {
            // Only folders that are empty go.
            let parent = folder.join(path).as_path().parent().map(Path::to_owned);
            let _ = parent.filter(|parent| *parent != folder.as_path()).map(fs::remove_dir);
        }
    }
    result
}

fn tell_files(
    folder: &HostPath,
    files: &[(&str, Vec<u8>)],
    keys: &[KeyName],
    arguments: &Init,
    output: &Output,
) {
    let verb = if arguments.dry_run { "would write" } else { "wrote" };
    let place = slashed(folder);
    let mut text = format!("{verb} to {place}:\n");
    for (path, _) in files {
        text.push_str(&format!("  {path}\n"));
        if path.ends_with(".pgp") {
            for key in keys {
                let user = key.user.as_deref().unwrap_or("without a name");
                text.push_str(&format!("    {}  {user}\n", grouped(&key.fingerprint)));
            }
            text.push_str("    (compare these fingerprints with those that Debian publishes)\n");
        }
    }
    output.summary(&text);
}

/// A fingerprint in groups of four digits, as gpg prints them.
fn grouped(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.chars().collect();
    let groups: Vec<String> = digits.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

fn as_json(key: &KeyName) -> Value {
    json!({ "fingerprint": key.fingerprint, "user": key.user })
}

/// Whether the release could be pinned: without a mirror it is pinned later.
fn pin(folder: &HostPath, global: &Global, output: &Output) -> Result<bool, Failure> {
    let release = Release::load(folder)?;
    match lock::pin(&release, global, output) {
        Ok(locked) => {
            for change in &locked.changes {
                output.summary(&format!("{change}\n"));
            }
            Ok(true)
        }
        Err(failure) if failure.kind == Kind::Machine => {
            output.note(&format!("not pinned yet: {}", failure.summary()));
            output.note(&format!("`perestroika lock {}` pins it", slashed(folder)));
            Ok(false)
        }
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_called_like_its_folder() {
        for (folder, name) in [
            ("/x/my-release", "my-release"),
            ("/x/My Release 1.0", "MyRelease1.0"),
            ("/x/.hidden", "hidden"),
            ("/x/Ünïcode", "ncode"),
            ("/", "release"),
        ] {
            assert_eq!(release_name(Path::new(folder)), name);
        }
    }

    #[test]
    fn what_is_written_can_be_read_whatever_the_folder_is_called() {
        for distribution in [Distribution::Bookworm, Distribution::Trixie] {
            let text = release_toml(&HostPath::new("/x/a \"b\"\n"), distribution);
            assert!(release::parse(&text).is_ok(), "{text}");
        }
    }
}

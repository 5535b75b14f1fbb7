//! `key new`: a key to sign repositories with.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::archive::deb::signature::{Algorithm, NewKey, NewKeyError, armoured};
use crate::base::HostPath;
use crate::cli::arguments::{KeyAlgorithm, KeyNew};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;

/// Makes the key, and says what is to be done with it.
pub fn run(command: &KeyNew, output: &Output) -> Result<Value, Failure> {
    let folder = std::path::absolute(&command.output).unwrap_or_else(|_| command.output.clone());
    let folder = HostPath::new(folder);
    refuse_release(&folder)?;
    let name = file_name(&command.user);
    let secret = folder.join(format!("{name}.secret.asc"));
    let public = folder.join(format!("{name}.asc"));
    for path in [&secret, &public] {
        if path.as_path().symlink_metadata().is_ok() {
            let message = format!("`{path}` is there already, and no key is ever overwritten");
            return Err(Failure::input("exists", message));
        }
    }
    let key = make(command)?;
    fs::create_dir_all(&folder).map_err(|error| cannot("create", &folder, &error))?;
    write(&secret, key.secret.as_bytes(), 0o600)?;
    write(&public, armoured(&key.public).as_bytes(), 0o644)?;
    let (algorithm, end) = (algorithm(command.algorithm), key.fit.end);
    let until = end.map_or_else(String::new, |end| format!(", until {}", end.strftime("%F")));
    output.text(&format!(
        "key     {fingerprint}  {algorithm}{until}\n\
         secret  {secret}\n\
         public  {public}\n\n\
         Whoever has the secret file signs in your name: keep it where no other program runs, and a \
         copy of it\nsomewhere safe. Next:\n  \
         put the public half into the release   cp {public} RELEASE/keys/\n  \
         let a suite be signed with it          [publish.SUITE]  key = \"keys/{name}.asc\"\n  \
         say where the secret half is           --key-file {secret}\n  \
         or give it to gpg and remove the file  gpg --import {secret}\n",
        fingerprint = key.fit.fingerprint,
    ));
    Ok(json!({
        "kind": "repository",
        "algorithm": algorithm,
        "fingerprint": key.fit.fingerprint,
        "user": command.user,
        "expires": end.map(|end| end.to_string()),
        "secret": secret.to_string(),
        "public": public.to_string(),
    }))
}

fn make(command: &KeyNew) -> Result<NewKey, Failure> {
    let now = Timestamp::now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let end = now.to_zoned(TimeZone::UTC).checked_add(command.expire).map(|end| end.timestamp());
    let end = end.map_err(|error| Failure::error(Kind::Input, "key", &error))?;
    let made = match command.algorithm {
        KeyAlgorithm::Ed25519 => Algorithm::Ed25519,
        KeyAlgorithm::Rsa4096 => Algorithm::Rsa4096,
    };
    NewKey::make(&command.user, made, now, end).map_err(|error| {
        let kind = match error {
            NewKeyError::User(_) | NewKeyError::Time(..) => Kind::Input,
            NewKeyError::Crate(_) | NewKeyError::Unfit(_) => Kind::Machine,
        };
        Failure::error(kind, "key", &error)
    })
}

fn algorithm(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::Ed25519 => "ed25519",
        KeyAlgorithm::Rsa4096 => "rsa4096",
    }
}

/// A release folder is handed on, with all that is in it.
fn refuse_release(folder: &HostPath) -> Result<(), Failure> {
    let release = folder.as_path().ancestors().find(|parent| parent.join("release.toml").is_file());
    match release {
        Some(release) => {
            let message = format!(
                "`{folder}` lies in the release folder `{}`, where no secret may be",
                release.display()
            );
            Err(Failure::input("secret", message).hint("`-o` takes a folder of your own"))
        }
        None => Ok(()),
    }
}

/// What the files of a key are called: after its owner, without the address.
fn file_name(user: &str) -> String {
    let name = user.split('<').next().unwrap_or_default().to_ascii_lowercase();
    let words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "archive".to_owned() } else { words.join("-") }
}

fn write(path: &HostPath, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::input("exists", format!("`{path}` is there already")),
        _ => cannot("write", path, &error),
    })
}

fn cannot(
    operation: &str,
    path: &(impl AsRef<Path> + std::fmt::Display),
    error: &io::Error,
) -> Failure {
    Failure::new(Kind::Machine, "key", format!("cannot {operation} `{path}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn files_are_called_after_the_owner() {
        for (user, expected) in [
            ("Demo archive <release@example.org>", "demo-archive"),
            ("../../etc/Passwd", "etc-passwd"),
            ("<a@b.example>", "archive"),
            ("Ärger", "rger"),
        ] {
            assert_eq!(file_name(user), expected);
        }
    }
}

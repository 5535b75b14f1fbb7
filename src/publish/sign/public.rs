//! What clients need to use a repository: the public keys, a `.sources` file, and a package that
//! installs both.

use std::collections::BTreeSet;
use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Error, Result, Signers};
use crate::archive::deb::changelog;
use crate::archive::deb::package::{File, write};
use crate::archive::deb::signature::armoured;
use crate::archive::deb::version::Version;
use crate::base::PackageName;

/// A repository as its clients see it.
#[derive(Debug, Clone)]
pub struct Repository<'a> {
    /// Its name, in lower-case letters, digits and `+-.`: that of its keyring begins with it.
    pub name: &'a str,
    /// Who stands behind it: `Name <address>`.
    pub maintainer: &'a str,
    /// Where it is found; none if that is not known.
    pub url: Option<&'a str>,
    /// Its suites that a client uses.
    pub suites: &'a [&'a str],
    /// Their components.
    pub components: &'a [&'a str],
}

/// A package that installs the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringPackage {
    /// Its version: the date of the newest key or signature in the keyring, and a count if the same
    /// date gave another package before.
    pub version: String,
    /// What its file is called.
    pub file_name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Repository<'_> {
    /// What its keyring, and the package of that, is called.
    pub fn keyring_name(&self) -> String {
        format!("{}-archive-keyring", self.name)
    }

    /// That nothing of it could end the line it is written on.
    fn check(&self) -> Result<PackageName> {
        let words = self.suites.iter().chain(self.components).chain(&self.url);
        let is_word = |word: &&str| {
            !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if let Some(word) = words.copied().find(|word| !is_word(word)) {
            return Err(Error::NotAWord(word.escape_debug().to_string()));
        }
        if self.maintainer.contains(char::is_control) {
            return Err(Error::NotAWord(self.maintainer.escape_debug().to_string()));
        }
        self.keyring_name()
            .parse()
            .map_err(|_| Error::NotAWord(self.name.escape_debug().to_string()))
    }
}

/// What a client puts into /etc/apt/sources.list.d to use the repository (sources.list(5)); none if
/// it is not known where that is.
///
/// # Errors
/// [`Error::NotAWord`] if something of it cannot be written into such a file.
pub fn sources_file(repository: &Repository<'_>) -> Result<Option<String>> {
    repository.check()?;
    Ok(repository.url.map(|url| {
        format!(
            "Types: deb deb-src\nURIs: {url}\nSuites: {}\nComponents: {}\nSigned-By: /{}\n",
            repository.suites.join(" "),
            repository.components.join(" "),
            keyring_path(repository),
        )
    }))
}

/// The package that installs the public keys of those who sign, and the `.sources` file if it is
/// known where the repository is.
///
/// The bytes are a function of the arguments. `previous` is the package that clients have now: if
/// nothing but the version would differ, that is what is given back; else the version is later.
///
/// # Errors
/// [`Error::NotAWord`] if something of the repository cannot be written down.
pub fn keyring_package(
    repository: &Repository<'_>,
    signers: &Signers,
    previous: Option<&KeyringPackage>,
) -> Result<KeyringPackage> {
    let at = signers.newest();
    let date = at.to_zoned(TimeZone::UTC).strftime("%Y.%m.%d").to_string();
    let Some(previous) = previous else { return package(repository, signers, at, date) };
    let same = package(repository, signers, at, previous.version.clone())?;
    if same.bytes == previous.bytes {
        return Ok(same);
    }
    package(repository, signers, at, later(&previous.version, date))
}

/// The files that lie beside the repository, by name: the keys in both forms, the `.sources` file of
/// `suite`, and the package.
///
/// # Errors
/// Those of [`keyring_package`].
pub fn files(
    repository: &Repository<'_>,
    signers: &Signers,
    previous: Option<&KeyringPackage>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let name = repository.keyring_name();
    let keyring = signers.keyring();
    let package = keyring_package(repository, signers, previous)?;
    let mut files = vec![
        (format!("{name}.asc"), armoured(&keyring).into_bytes()),
        (format!("{name}.pgp"), keyring),
        (package.file_name, package.bytes),
    ];
    if let Some(text) = sources_file(repository)? {
        files.push((format!("{}.sources", repository.suites.join("-")), text.into_bytes()));
    }
    files.sort();
    Ok(files)
}

/// Where the keyring is installed, without the `/` before it.
fn keyring_path(repository: &Repository<'_>) -> String {
    format!("usr/share/keyrings/{}.pgp", repository.keyring_name())
}

/// The version for this date that comes after one that was there before.
fn later(previous: &str, date: String) -> String {
    let number = |version: &str| version.parse::<Version>().ok();
    if number(previous) < number(&date) {
        return date;
    }
    // A key was taken away, or the repository is found elsewhere.
    let counted = previous.rsplit_once('.').filter(|(day, _)| day.matches('.').count() == 2);
    let next = counted.and_then(|(day, count)| Some((day, count.parse::<u64>().ok()? + 1)));
    match next {
        Some((day, count)) => format!("{day}.{count}"),
        None => format!("{previous}.1"),
    }
}

fn package(
    repository: &Repository<'_>,
    signers: &Signers,
    at: Timestamp,
    version: String,
) -> Result<KeyringPackage> {
    let name = repository.check()?;
    let (title, maintainer) = (repository.name, repository.maintainer);
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: {maintainer}\n\
         Section: misc\nPriority: optional\nMulti-Arch: foreign\n\
         Description: OpenPGP keys of the {title} repository\n \
         apt accepts the repository because these keys have signed it.\n"
    );
    let users: BTreeSet<&str> =
        signers.fits().iter().filter_map(|fit| fit.user.as_deref()).collect();
    let owners: String = users.iter().map(|user| format!(" {}\n", user.escape_debug())).collect();
    let copyright = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
         Files: *\nCopyright: the owners of the keys\nLicense: public-domain\n \
         Keys are facts: whoever wants to verify what they sign may copy and use them.\nComment:\n{}",
        if owners.is_empty() { " The keys name no owner.\n" } else { &owners }
    );
    let text =
        signers.fits().iter().map(|fit| format!("Key {}.\n", fit.primary)).collect::<String>();
    let entry = changelog::entry(&name, &version, "stable", &text, maintainer, at);
    let file = |path: String, bytes: Vec<u8>| File { path, bytes };
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let mut files = vec![
        file(keyring_path(repository), signers.keyring()),
        file(format!("usr/share/doc/{name}/copyright"), copyright.into_bytes()),
        file(format!("usr/share/doc/{name}/changelog.gz"), packed(entry.as_bytes())?),
    ];
    if let Some(text) = sources_file(repository)? {
        files.push(file(format!("etc/apt/sources.list.d/{title}.sources"), text.into_bytes()));
    }
    let bytes = write(&control, &files, seconds).map_err(Error::Package)?;
    let file_name = format!("{name}_{version}_all.deb");
    Ok(KeyringPackage { version, file_name, bytes })
}

fn packed(text: &[u8]) -> Result<Vec<u8>> {
    // Neither a name nor a time in its header.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::Write::write_all(&mut gzip, text).and_then(|()| gzip.finish()).map_err(Error::Package)
}

#[cfg(test)]
mod tests {
    use super::later;

    #[test]
    fn another_package_has_a_later_version() {
        for (previous, date, expected) in [
            ("2026.11.22", "2026.11.23", "2026.11.23"),
            ("2026.11.23", "2026.11.23", "2026.11.23.1"),
            ("2026.11.23.9", "2026.11.23", "2026.11.23.10"),
            ("2026.11.23.9", "2026.11.24", "2026.11.24"),
            // The newest key was taken away.
            ("2026.11.23", "2024.01.01", "2026.11.23.1"),
        ] {
            assert_eq!(later(previous, date.to_owned()), expected);
        }
    }
}

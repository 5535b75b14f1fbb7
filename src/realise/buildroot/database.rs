//! dpkg's database: what the layers below say, and what is added for packages unpacked natively.
//!
//! The added parts are what `dpkg --unpack` would leave (dpkg's own documentation of its database
//! is its source; deb-triggers(5), deb-conffiles(5) for the members): a status paragraph
//! `install ok unpacked`, `info/*`, interests in `triggers/`, and activated file triggers in
//! `triggers/Unincorp`, which dpkg reads when it next runs. dpkg then writes all of it anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io;

use super::Member;
use super::error::{Error, system};
use super::folder::Folder;
use super::unpacked::What;
use crate::archive::deb::control;
use crate::archive::deb::index::MultiArch;
use crate::archive::deb::version::Version;
use crate::base::{HostPath, PackageName};

/// Where dpkg keeps it.
pub(super) const FOLDER: &str = "var/lib/dpkg";

/// What the layers below hold.
#[derive(Debug, Default)]
pub(super) struct Database {
    status: String,
    /// `triggers/File`.
    file_triggers: String,
    /// The other files of `triggers/`, by trigger name.
    triggers: BTreeMap<String, String>,
    installed: Vec<Installed>,
    /// Which package, by index, has a path.
    owners: HashMap<String, Vec<usize>>,
    /// Diverted paths, both ends, with the package that has the diversion.
    diversions: HashMap<String, String>,
    /// Where files really are that a diversion moved, with the path that packages have them at.
    moved: HashMap<String, String>,
    overrides: BTreeSet<String>,
}

/// A package of the layers below.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) name: String,
    version: Option<Version>,
}

impl Database {
    /// Reads the database as it is seen through `layers`, the lowest first.
    pub(super) fn read(layers: &[HostPath]) -> Result<Self, Error> {
        let mut database = Self::default();
        if layers.is_empty() {
            return Ok(database);
        }
        database.status = seen(layers, "status")?.unwrap_or_default();
        database.read_packages(layers)?;
        let lines = |text: Option<String>| text.unwrap_or_default();
        let diversions = lines(seen(layers, "diversions")?);
        let diversions: Vec<&str> = diversions.lines().collect();
        for diversion in diversions.chunks_exact(3) {
            let ends = [diversion[0], diversion[1]].map(|path| path.trim_start_matches('/'));
            for path in ends {
                database.diversions.insert(path.to_owned(), diversion[2].to_owned());
            }
            database.moved.insert(ends[1].to_owned(), ends[0].to_owned());
        }
        for line in lines(seen(layers, "statoverride")?).lines() {
            if let Some(path) = line.splitn(4, ' ').nth(3) {
                database.overrides.insert(path.trim_start_matches('/').to_owned());
            }
        }
        for layer in layers {
            let folder = layer.join(FOLDER).join("triggers");
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.map_err(system("list", &folder))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if matches!(name.as_str(), "Lock" | "Unincorp") || name.ends_with("-old") {
                    continue;
                }
                let text =
                    fs::read_to_string(entry.path()).map_err(system("read", entry.path()))?;
                match name.as_str() {
                    "File" => database.file_triggers = text,
                    _ => drop(database.triggers.insert(name, text)),
                }
            }
        }
        Ok(database)
    }

    fn read_packages(&mut self, layers: &[HostPath]) -> Result<(), Error> {
        let status = std::mem::take(&mut self.status);
        for paragraph in control::paragraphs(&status) {
            let paragraph = paragraph.map_err(|error| Error::Database(error.to_string()))?;
            let field = |name| {
                paragraph.get(name).ok_or_else(|| Error::Database(format!("no `{name}` somewhere")))
            };
            let name = field("Package")?.to_owned();
            let version = field("Version")?.parse().ok();
            let mut list = seen(layers, &format!("info/{name}.list"))?;
            if list.is_none() {
                let architecture = field("Architecture")?;
                list = seen(layers, &format!("info/{name}:{architecture}.list"))?;
            }
            let index = self.installed.len();
            for line in list.as_deref().unwrap_or_default().lines() {
                let path = line.trim_start_matches('/').to_owned();
                self.owners.entry(path).or_default().push(index);
            }
            self.installed.push(Installed { name, version });
        }
        self.status = status;
        Ok(())
    }

    /// Whether a file that `package` ships at `path` ends up elsewhere or with another mode.
    pub(super) fn redirects(&self, path: &str, package: &PackageName) -> bool {
        self.overrides.contains(path)
            || self.diversions.get(path).is_some_and(|by| by != package.as_str())
    }

    /// The packages below that have this path.
    pub(super) fn owners<'a>(
        &'a self,
        path: &str,
    ) -> impl Iterator<Item = &'a Installed> + use<'a> {
        self.owners.get(path).into_iter().flatten().map(|index| &self.installed[*index])
    }

    /// The packages below whose file stands at this path, diversions considered.
    pub(super) fn owners_at<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a Installed> {
        let by = self.diversions.get(path);
        let original = self.moved.get(path);
        let here = self.owners(original.map_or(path, String::as_str));
        here.filter(move |package| match (by, original) {
            (None, _) => true,
            (Some(by), None) => package.name == *by,
            (Some(by), Some(_)) => package.name != *by,
        })
    }

    /// All paths, each with every package below that has it.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, &Installed)> {
        self.owners.iter().flat_map(|(path, packages)| {
            packages.iter().map(|index| (path.as_str(), &self.installed[*index]))
        })
    }

    /// Whether `member` may overwrite files of a package below (Debian Policy 7.6.1).
    pub(super) fn replaces(&self, member: &Member, other: &Installed) -> bool {
        let Ok(relations) = member.root.package.replaces.get() else { return false };
        let accepted =
            |version: &Option<Version>, relation: &crate::archive::deb::dependency::Relation| {
                version.as_ref().is_some_and(|version| relation.accepts(version))
            };
        relations.0.iter().flat_map(|alternatives| &alternatives.0).any(|relation| {
            relation.name.as_str() == other.name && accepted(&other.version, relation)
        })
    }

    /// Whether a package below has that name.
    pub(super) fn has(&self, name: &PackageName) -> bool {
        self.installed.iter().any(|installed| installed.name == name.as_str())
    }

    /// Writes into `folder` the database of the layers below with `members` added as unpacked.
    pub(super) fn write(&self, folder: &mut Folder, members: &[&Member]) -> Result<(), Error> {
        for part in ["info", "triggers", "updates", "alternatives", "parts"] {
            folder.directory(&format!("{FOLDER}/{part}"), 0o755)?;
        }
        let mut interests =
            Interests { files: self.file_triggers.clone(), named: self.triggers.clone() };
        let mut status = self.status.clone();
        for member in members {
            if !status.is_empty() && !status.ends_with("\n\n") {
                status.push('\n');
            }
            status.push_str(&paragraph(member)?);
            self.write_info(folder, member)?;
            interests.add(member)?;
        }
        let mut put = |name: &str, text: &str| write(folder, &format!("{FOLDER}/{name}"), text);
        put("status", &status)?;
        put("info/format", "1\n")?;
        put("triggers/File", &interests.files)?;
        for (name, text) in &interests.named {
            put(&format!("triggers/{name}"), text)?;
        }
        put("triggers/Unincorp", &interests.activated(members))
    }

    fn write_info(&self, folder: &mut Folder, member: &Member) -> Result<(), Error> {
        let name = format!("{FOLDER}/info/{}", info_name(member));
        let control = member.unpacked.path.join("control");
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&control).map_err(system("list", &control))? {
            let entry = entry.map_err(system("list", &control))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        for part in names.iter().filter(|part| *part != "control") {
            folder.hard_link(&control.join(part), &format!("{name}.{part}"))?;
        }
        let mut list = String::new();
        for item in &member.unpacked.contents.items {
            let path = if item.path.is_empty() { "." } else { &item.path };
            list.push('/');
            list.push_str(path);
            list.push('\n');
        }
        write(folder, &format!("{name}.list"), &list)
    }
}

/// Who wants to know about what.
struct Interests {
    files: String,
    named: BTreeMap<String, String>,
}

impl Interests {
    fn add(&mut self, member: &Member) -> Result<(), Error> {
        let Some(text) = member.unpacked.control("triggers")? else { return Ok(()) };
        let package = info_name(member);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else { continue };
            let suffix = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            if trigger.starts_with('/') {
                let _ = writeln!(self.files, "{trigger} {package}{suffix}");
            } else if trigger.contains('/') || trigger.starts_with('.') {
                let what = format!("trigger name `{trigger}`");
                return Err(Error::Unusable { package, what });
            } else {
                let named = self.named.entry(trigger.to_owned()).or_default();
                let _ = writeln!(named, "{package}{suffix}");
            }
        }
        Ok(())
    }

    /// The file triggers that the files of `members` set off, as dpkg-trigger would note them:
    /// each with the packages that await it. dpkg itself drops those that interest only packages
    /// that are not configured yet.
    fn activated(&self, members: &[&Member]) -> String {
        let triggers: BTreeSet<&str> = self
            .files
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(|trigger| trigger.trim_start_matches('/'))
            .collect();
        let mut activated: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for member in members {
            for item in &member.unpacked.contents.items {
                let mut path = item.path.as_str();
                loop {
                    if let Some(trigger) = triggers.get(path) {
                        activated.entry(trigger).or_default().insert(info_name(member));
                    }
                    match path.rsplit_once('/') {
                        Some((above, _)) => path = above,
                        None => break,
                    }
                }
            }
        }
        let mut text = String::new();
        for (trigger, packages) in activated {
            let packages: Vec<String> = packages.into_iter().collect();
            let _ = writeln!(text, "/{trigger} {}", packages.join(" "));
        }
        text
    }
}

/// The name that dpkg's database files of a package begin with.
fn info_name(member: &Member) -> String {
    let package = &member.root.package;
    match package.multi_arch {
        MultiArch::Same => format!("{}:{}", package.name, package.architecture),
        _ => package.name.to_string(),
    }
}

/// The package's status paragraph, as far as its own control file does not say it already; dpkg
/// puts the fields into its own order when it next writes the file.
fn paragraph(member: &Member) -> Result<String, Error> {
    let unusable =
        |what: &str| Error::Unusable { package: member_name(member), what: what.to_owned() };
    let text = member.unpacked.control("control")?.ok_or_else(|| unusable("control file"))?;
    let read = control::paragraphs(&text).next().and_then(Result::ok);
    let read = read.ok_or_else(|| unusable("control file"))?;
    let mut out = String::new();
    for (name, value) in read.fields() {
        let clash = ["Status", "Conffiles", "Config-Version", "Triggers-Pending"];
        if clash.iter().any(|clash| clash.eq_ignore_ascii_case(name)) {
            return Err(unusable("control file: a field in it is dpkg's own"));
        }
        let _ = writeln!(out, "{name}: {value}");
        if name.eq_ignore_ascii_case("Package") {
            out.push_str("Status: install ok unpacked\n");
        }
    }
    let conffiles = conffiles(member)?;
    if !conffiles.is_empty() {
        let _ = write!(out, "Conffiles:\n{conffiles}");
    }
    out.push('\n');
    Ok(out)
}

fn member_name(member: &Member) -> String {
    member.root.package.name.to_string()
}

/// The lines of the `Conffiles` field. A conffile stands in its place already, with its digest;
/// one that is only to be removed is new to dpkg.
fn conffiles(member: &Member) -> Result<String, Error> {
    let Some(text) = member.unpacked.control("conffiles")? else { return Ok(String::new()) };
    let md5: HashMap<&str, &str> = member
        .unpacked
        .contents
        .items
        .iter()
        .filter_map(|item| match &item.what {
            What::File { md5: Some(md5), .. } => Some((item.path.as_str(), md5.as_str())),
            _ => None,
        })
        .collect();
    let mut out = String::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let known = line.strip_prefix('/').and_then(|path| md5.get(path));
        match (known, line.strip_prefix("remove-on-upgrade ")) {
            (Some(md5), _) => drop(writeln!(out, " {line} {md5}")),
            (None, Some(path)) => drop(writeln!(out, " {path} newconffile remove-on-upgrade")),
            (None, None) => drop(writeln!(out, " {line} newconffile")),
        }
    }
    Ok(out)
}

fn write(folder: &mut Folder, path: &str, text: &str) -> Result<(), Error> {
    let mut file = folder.file(path)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(system("write", path))?;
    folder.settle(&file, path, 0o644, 0)
}

/// A file of dpkg's folder as the topmost layer that has it shows it.
fn seen(layers: &[HostPath], name: &str) -> Result<Option<String>, Error> {
    for layer in layers.iter().rev() {
        let path = layer.join(FOLDER).join(name);
        match fs::read(&path) {
            Ok(bytes) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system("read", &path)(error)),
        }
    }
    Ok(None)
}

//! The releases that a release extends: their texts, and what names their state.

use super::document::top_file;
use super::loader::{self, Loader};
use super::lock;
use super::model::{Extended, Located};
use super::release::{self, Release};
use crate::base::{Diagnostic, Digest, ReleaseFolder, ReleasePath, Tree, TreeEntry, TreeKind};

/// How many releases may extend one another.
const MAX_EXTENDED: usize = 8;

/// A release folder and what its release.toml says over those below it.
pub struct Link {
    /// The folder.
    pub folder: ReleaseFolder,
    /// Its release.
    pub release: Release,
}

/// The release of `loader` and all that it extends, itself last; and what is wrong with their
/// release.toml that does not keep their specs from being evaluated.
///
/// # Errors
/// A release.toml that cannot be read or makes no release, and releases that extend one another.
pub fn chain(loader: &dyn Loader) -> Result<(Vec<Link>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut texts: Vec<(ReleaseFolder, String)> = Vec::new();
    let mut steps: Vec<Located<ReleaseFolder>> = Vec::new();
    let mut folder = ReleaseFolder::default();
    loop {
        let text = text(loader, &folder, steps.last()).map_err(|error| vec![error])?;
        let next = release::extended(&folder, &text);
        texts.push((folder, text));
        let Some(step) = next else { break };
        folder = step.value.clone();
        steps.push(step);
        if texts.iter().any(|(seen, _)| *seen == folder) || steps.len() > MAX_EXTENDED {
            return Err(vec![endless(&steps)]);
        }
    }
    let mut links: Vec<Link> = Vec::new();
    let mut wrong = Vec::new();
    for (folder, text) in texts.into_iter().rev() {
        let below = links.last().map(|link| &link.release);
        let (release, errors) = release::read_over(&folder, &text, below);
        wrong.extend(errors);
        let Some(release) = release else { return Err(wrong) };
        links.push(Link { folder, release });
    }
    Ok((links, wrong))
}

fn text(
    loader: &dyn Loader,
    folder: &ReleaseFolder,
    step: Option<&Located<ReleaseFolder>>,
) -> Result<String, Diagnostic> {
    let file = folder.path(&top_file(release::FILE));
    let problem = match loader.read(&file, loader::MAX_TEXT).map(String::from_utf8) {
        Ok(Ok(text)) => return Ok(text),
        Ok(Err(_)) => Diagnostic::new("unreadable", format!("`{file}` is not UTF-8")),
        Err(error) => Diagnostic::new("unreadable", error.to_string())
            .hint("a release is a folder with a `release.toml`"),
    };
    Err(problem.at(step.and_then(|step| step.span.clone()), "the release that is extended"))
}

fn endless(steps: &[Located<ReleaseFolder>]) -> Diagnostic {
    let told: Vec<String> = steps.iter().map(|step| step.value.to_string()).collect();
    let message = match steps.len() > MAX_EXTENDED {
        true => format!("more than {MAX_EXTENDED} releases extend one another"),
        false => format!("releases that extend one another: {}", told.join(" -> ")),
    };
    let error = Diagnostic::new("extends", message);
    steps.iter().fold(error, |error, step| error.at(step.span.clone(), ""))
}

/// The releases that the last of `links` extends, nearest first, each with its state.
///
/// # Errors
/// A file that cannot be read, and a release.lock that is none.
pub fn extended(loader: &dyn Loader, links: &[Link]) -> Result<Vec<Extended>, Vec<Diagnostic>> {
    let pairs = links.windows(2).rev();
    pairs
        .map(|pair| {
            let (base, above) = (&pair[0], &pair[1]);
            let span = above.release.extends.as_ref().and_then(|at| at.span.clone());
            let unreadable = |error: loader::Error| {
                vec![Diagnostic::new("unreadable", error.to_string()).at(span.clone(), "")]
            };
            let file = base.folder.path(&top_file(lock::FILE));
            let lock = match loader.read(&file, lock::MAX_SIZE) {
                Ok(bytes) => Some(bytes),
                Err(loader::Error::Missing(_)) => None,
                Err(error) => return Err(unreadable(error)),
            };
            let digest = digest(loader, base, lock.as_deref()).map_err(unreadable)?;
            let lock = match lock.map(String::from_utf8) {
                None => None,
                Some(Ok(text)) => Some(lock::parse_in(&base.folder, &text)?),
                Some(Err(_)) => return Err(unreadable(loader::Error::Encoding(file.to_string()))),
            };
            Ok(Extended { folder: base.folder.clone(), span, digest, lock })
        })
        .collect()
}

/// What names the state of a release: the digest of the tree of its release.toml, specs,
/// overlays, modules and release.lock. The folders that it builds are not part of it: they are
/// hashed wherever they are evaluated.
fn digest(loader: &dyn Loader, link: &Link, lock: Option<&[u8]>) -> Result<Digest, loader::Error> {
    let Link { folder, release } = link;
    let mut files: Vec<ReleasePath> = vec![folder.path(&top_file(release::FILE))];
    files.extend(loader.specs(folder)?);
    files.extend(loader.modules(folder)?);
    // Those of the releases below are in the state of these. One that is missing is told where it
    // is evaluated.
    let there = |path: &ReleasePath| {
        !matches!(loader.read(path, loader::MAX_TEXT), Err(loader::Error::Missing(_)))
    };
    let overlays = release.overlays.iter().map(|overlay| &overlay.value);
    files.extend(overlays.filter(|path| there(path)).cloned());
    files.sort();
    files.dedup();
    let mut entries = Vec::new();
    let mut add = |path: &str, bytes: &[u8]| {
        let kind = TreeKind::File(Digest::of(bytes));
        entries.push(TreeEntry { path: path.to_owned(), kind });
    };
    for file in &files {
        add(file.inside(), &loader.read(file, loader::MAX_TEXT)?);
    }
    if let Some(lock) = lock {
        add(lock::FILE, lock);
    }
    let tree = Tree::new(entries).map_err(|_| loader::Error::Encoding(folder.to_string()))?;
    Ok(tree.digest())
}

//! What a source says of itself: how it is built, what it is called, what it needs. A pure
//! function of its files.

mod build;
mod c;
mod python;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use super::license;
use crate::archive::deb::contents::Wanted;

/// The files of a source.
pub struct Files<'a> {
    /// Their paths, sorted.
    pub paths: Vec<String>,
    /// The text of one; none where it is too large, or no text.
    pub read: Read<'a>,
}

/// Gives the text of a path.
pub type Read<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

impl Files<'_> {
    fn has(&self, path: &str) -> bool {
        self.paths.binary_search_by(|known| known.as_str().cmp(path)).is_ok()
    }

    fn text(&self, path: &str) -> Option<String> {
        self.has(path).then(|| (self.read)(path)).flatten()
    }

    /// Files of these names (without folder), nearest to the top first.
    fn named<'a>(&'a self, fits: impl Fn(&str) -> bool + 'a) -> Vec<&'a str> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut found: Vec<&str> =
            self.paths.iter().map(String::as_str).filter(|path| fits(&name(path))).collect();
        found.sort_by_key(|path| (path.matches('/').count(), *path));
        found
    }
}

/// How a source is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// By its own `debian/`.
    Debian,
    /// By its configure script.
    Autotools,
    /// By CMake.
    Cmake,
    /// By Meson.
    Meson,
    /// By pybuild: what builds it, whether it has modules in machine code.
    Python {
        /// The `backend` of the stdlib's `python`.
        backend: &'static str,
        /// Whether anything is compiled.
        compiled: bool,
    },
    /// By a plain makefile.
    Make,
}

/// Something that was found out, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T = String> {
    /// What.
    pub value: T,
    /// Where it stands, or why it is thought so.
    pub from: String,
    /// Whether the source says so itself.
    pub sure: Sure,
}

/// How sure something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sure {
    /// The source says so.
    Said,
    /// It looks like it.
    Guessed,
}

impl<T> Found<T> {
    fn said(value: T, from: impl fmt::Display) -> Self {
        Self { value, from: from.to_string(), sure: Sure::Said }
    }

    fn guessed(value: T, from: impl fmt::Display) -> Self {
        Self { value, from: from.to_string(), sure: Sure::Guessed }
    }
}

/// Something that the build asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub wanted: Wanted,
    /// Where it is asked for.
    pub from: String,
    /// Whether it must be there.
    pub sure: Sure,
}

/// What a source says of itself.
#[derive(Debug, Default)]
pub struct Project {
    /// How it is built; none if nothing was recognised.
    pub build: Option<Found<Build>>,
    /// Its name, as it writes it.
    pub name: Option<Found>,
    /// Its version.
    pub version: Option<Found>,
    /// SPDX expression.
    pub license: Option<Found>,
    /// One line about it.
    pub summary: Option<Found>,
    /// Its home page.
    pub homepage: Option<Found>,
    /// What it needs to be built.
    pub needs: Vec<Need>,
    /// Whether it installs programs; unknown for most ways of building.
    pub has_programs: bool,
}

impl Project {
    /// What these files say. `called` is the folder or archive they come in, such as `greet-1.2`.
    pub fn of(files: &Files<'_>, called: &str) -> Self {
        let mut project = build::project(files);
        let (name, version) = split_version(called);
        if project.name.is_none() {
            project.name = Some(Found::guessed(name.to_owned(), "what it comes in"));
        }
        if let (None, Some(version)) = (&project.version, version) {
            project.version = Some(Found::guessed(version.to_owned(), "what it comes in"));
        }
        if project.build.as_ref().is_none_or(|build| build.value != Build::Debian) {
            let by_text = || license::of(files);
            project.license = project.license.take().or_else(by_text);
            project.summary = project.summary.take().or_else(|| text::summary(files));
        }
        let mut seen = BTreeMap::new();
        project.needs.retain(|need| seen.insert(need.wanted.clone(), ()).is_none());
        project
    }
}

/// `greet-1.2` as name and version.
fn split_version(called: &str) -> (&str, Option<&str>) {
    match called.rsplit_once(['-', '_']) {
        Some((name, version))
            if version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) =>
        {
            (name, Some(version.trim_start_matches('v')))
        }
        _ => (called, None),
    }
}

#[cfg(test)]
mod tests;

//! What the specs of a release were evaluated from, without what they came to.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::inputs::{Input, Inputs};
use crate::base::{Digest, PackageName, ReleasePath};
use crate::spec::loader::Loader;

/// What the spec files of a release were evaluated from, and the names of the packages that they
/// came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Footprint {
    /// What names all that is the same for all files.
    pub(super) key: Digest,
    pub(super) inputs: Vec<Input>,
    pub(super) files: Vec<Step>,
}

/// One spec file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    /// What its evaluation read, by place among the inputs; itself first.
    pub inputs: Vec<u32>,
    /// Its packages.
    pub packages: Vec<PackageName>,
}

/// How the spec files of a release compare with what they were.
pub(in crate::spec) struct Comparison {
    /// Those that are there and new, or not what they were.
    pub stale: Vec<ReleasePath>,
    /// The others.
    pub kept: Footprint,
    /// Whether the others are all, and nothing new is known of them.
    pub as_before: bool,
}

impl Footprint {
    /// Whether it is of this.
    pub(in crate::spec) fn is_of(&self, key: Digest) -> bool {
        self.key == key
    }

    /// Where a spec file lies.
    fn path(&self, step: &Step) -> Option<&ReleasePath> {
        Some(&self.inputs.get(*step.inputs.first()? as usize)?.path)
    }

    /// The spec files that these packages come from.
    pub fn files_of<'a>(
        &'a self,
        wanted: impl Fn(&PackageName) -> bool + 'a,
    ) -> impl Iterator<Item = &'a ReleasePath> + 'a {
        let steps = self.files.iter().filter(move |step| step.packages.iter().any(&wanted));
        steps.filter_map(|step| self.path(step))
    }

    /// The packages, file after file.
    pub fn packages(&self) -> impl Iterator<Item = &PackageName> {
        self.files.iter().flat_map(|step| &step.packages)
    }

    /// How `files`, which are there now, compare.
    pub(in crate::spec) fn compare(
        &self,
        files: &[ReleasePath],
        loader: &dyn Loader,
        now: i64,
    ) -> Comparison {
        let inputs = Inputs::new(self.inputs.clone(), loader, now);
        let steps: HashMap<&ReleasePath, &Step> =
            self.files.iter().filter_map(|step| Some((self.path(step)?, step))).collect();
        let same: Vec<Option<&Step>> = files
            .par_iter()
            .map(|file| {
                let step = *steps.get(file)?;
                step.inputs.iter().all(|input| inputs.same(*input).is_some()).then_some(step)
            })
            .collect();
        let as_before = files.len() == self.files.len()
            && same.iter().all(|step| {
                step.is_some_and(|step| step.inputs.iter().all(|one| inputs.is_as_before(*one)))
            });
        let mut kept = Self { key: self.key, inputs: Vec::new(), files: Vec::new() };
        let (mut places, mut stale) = (Places::default(), Vec::new());
        for (file, step) in files.iter().zip(same) {
            match step {
                None => stale.push(file.clone()),
                Some(Step { inputs: read, packages }) => {
                    let read = read.iter().filter_map(|input| inputs.same(*input));
                    let read = read.map(|input| places.place(input)).collect();
                    kept.files.push(Step { inputs: read, packages: packages.clone() });
                }
            }
        }
        kept.inputs = places.inputs;
        Comparison { stale, kept, as_before }
    }

    /// Both together.
    pub(in crate::spec) fn and(self, other: Self) -> Self {
        let mut places = Places::default();
        let mut files = Vec::with_capacity(self.files.len() + other.files.len());
        for Self { key: _, inputs, files: steps } in [&self, &other] {
            let place = |step: &Step, places: &mut Places| {
                let read = step.inputs.iter().filter_map(|input| inputs.get(*input as usize));
                read.map(|input| places.place(input)).collect()
            };
            files.extend(steps.iter().map(|step| Step {
                inputs: place(step, &mut places),
                packages: step.packages.clone(),
            }));
        }
        Self { key: self.key, inputs: places.inputs, files }
    }
}

/// Inputs, each once.
#[derive(Default)]
pub(super) struct Places {
    pub inputs: Vec<Input>,
    known: HashMap<(bool, ReleasePath), u32>,
}

impl Places {
    /// The place of an input among them.
    pub fn place(&mut self, input: &Input) -> u32 {
        let key = (input.kind == crate::spec::loader::Kind::Folder, input.path.clone());
        *self.known.entry(key).or_insert_with(|| {
            self.inputs.push(input.clone());
            self.inputs.len() as u32 - 1
        })
    }
}

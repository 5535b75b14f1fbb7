//! The binary packages of generated packaging.

use std::collections::BTreeMap;

use rhai::Dynamic;

use super::{Entries, Shape, items, line, package_name, plain, policy};
use crate::base::{Diagnostic, PackageName};
use crate::spec::model::Binary;

/// Relations to other packages (Debian Policy 7.1): keys of a spec, and fields of a control file.
pub(in crate::spec) const RELATIONS: [&str; 9] = [
    "pre_depends",
    "depends",
    "recommends",
    "suggests",
    "enhances",
    "breaks",
    "conflicts",
    "replaces",
    "provides",
];

const KEYS: [&str; 8] = [
    "name",
    "architecture",
    "section",
    "multi_arch",
    "summary",
    "description",
    "files",
    "optional",
];

/// The keys of a binary package.
pub(super) fn keys() -> Vec<&'static str> {
    KEYS.into_iter().chain(RELATIONS).collect()
}

/// Reads the field `binaries`.
pub(super) fn binaries(
    name: &str,
    value: Dynamic,
    at: &Shape,
    errors: &mut Vec<Diagnostic>,
) -> Option<Vec<Binary>> {
    let keys = keys();
    let mut found: Vec<Binary> = Vec::new();
    for (index, item) in items(name, "a list of maps", value, at, errors)?.into_iter().enumerate() {
        let (label, at) = (format!("{name}[{index}]"), at.item(index));
        let Some(mut entries) = Entries::new(&label, item, &at, &keys, errors) else { continue };
        let package = entries.required("name", package_name, errors);
        let architecture = entries.portability(errors);
        let mut relations = BTreeMap::new();
        for key in RELATIONS {
            let list = entries.located(key, line, errors);
            if !list.is_empty() {
                relations.insert(key.to_owned(), list);
            }
        }
        let section = entries.text("section", policy::section, errors);
        let multi_arch = entries.text("multi_arch", multi_arch, errors);
        let summary = entries.text("summary", line, errors);
        let description = entries.text("description", plain, errors);
        let files = entries.texts("files", pattern, errors);
        let optional = entries.texts("optional", pattern, errors);
        let Some(name) = package.and_then(|name| name.parse::<PackageName>().ok()) else {
            continue;
        };
        found.push(Binary {
            name,
            architecture,
            relations,
            section,
            multi_arch,
            summary,
            description,
            files,
            optional,
        });
    }
    Some(found)
}

/// A pattern of installed files, as dh_install takes it: relative, without white space, which
/// would be a second word there.
fn pattern(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_alphanumeric() || "+-._~@%=,:/*?[]!".contains(c);
    let plain = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match plain && text.chars().all(good) && !text.starts_with('!') {
        true => Ok(()),
        false => Err(format!(
            "`{text}` is no pattern of installed files, such as `usr/bin/*` or `usr/lib/*/lib*.so.*`"
        )),
    }
}

fn multi_arch(text: &str) -> Result<(), String> {
    match text {
        "same" | "foreign" | "allowed" => Ok(()),
        _ => Err("`same`, `foreign` or `allowed` is expected".to_owned()),
    }
}

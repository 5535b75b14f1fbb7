//! The standard library: Rhai modules that are part of the program.
//!
//! Their text is an input of a release like any other: `release.lock.d/stdlib/` keeps the copy
//! that a release was pinned with, and that one is evaluated from then on.

/// The modules, by name.
pub const MODULES: [(&str, &str); 10] = [
    ("autotools", include_str!("../../stdlib/autotools.rhai")),
    ("cmake", include_str!("../../stdlib/cmake.rhai")),
    ("debhelper", include_str!("../../stdlib/debhelper.rhai")),
    ("debian", include_str!("../../stdlib/debian.rhai")),
    ("library", include_str!("../../stdlib/library.rhai")),
    ("make", include_str!("../../stdlib/make.rhai")),
    ("meson", include_str!("../../stdlib/meson.rhai")),
    ("openstack", include_str!("../../stdlib/openstack.rhai")),
    ("python", include_str!("../../stdlib/python.rhai")),
    ("script", include_str!("../../stdlib/script.rhai")),
];

/// The text of a module as this program brings it.
pub fn text(module: &str) -> Option<&'static str> {
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, text)| *text)
}

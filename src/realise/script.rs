//! The shell script of a build: preparing the source folder, then the package's own script.
//!
//! It is part of the action: nothing is done to a source that an auditor cannot read.
//!
//! A source that is the archive's own, unchanged, is built as `dpkg-source` unpacks it. From any
//! other, a source package is made first; it is unpacked again and *that* is built, so what is
//! kept as the package's source is known to rebuild it.

use super::action::Sources;
use super::request::{INPUTS, folder};
use crate::archive::deb::version::Version;
use crate::graph::derivation::{Package, Patched, Source};

/// Whether the build makes a source package, because none with this content exists yet.
pub fn makes_source_package(package: &Package, sources: &Sources<'_>) -> bool {
    let changed = !package.files.is_empty()
        || !package.changelog.is_empty()
        || !package.patches.is_empty()
        || !sources.extra.is_empty()
        || sources.packaging.is_some();
    match sources.own {
        Source::Debian { .. } => changed,
        Source::Tree { .. } | Source::Tarball { .. } | Source::File(_) => true,
    }
}

/// Patterns of the files that are kept: those of the package, and its source package's.
pub fn outputs(package: &Package, sources: &Sources<'_>) -> Vec<String> {
    let mut patterns = package.outputs.clone();
    if makes_source_package(package, sources) {
        let of_source = ["dsc", "tar.*", "diff.gz", "asc"];
        patterns.extend(of_source.map(|end| format!("{}_*.{end}", package.name)));
    }
    patterns
}

/// The whole script. Of `sources`, the own one lies at `source`, another's packaging at
/// `packaging` and the others at `extra/0`, `extra/1` and so on, in their order. A tarball is at
/// `upstream/orig.tar.xz` (and so on) too, as it came.
pub fn script(package: &Package, sources: &Sources<'_>) -> String {
    let mut text = String::new();
    if is_i386(package) {
        // On an x86-64 kernel `uname` would tell of that: as on the distribution's builders, it
        // tells of what is built for.
        text.push_str("[ \"$(uname -m)\" != x86_64 ] || exec setarch i686 /bin/sh \"$0\"\n");
    }
    prepare(&mut text, package, sources);
    text.push_str(&package.script);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The script that prepares the source folder as [`script`] does, telling of it on standard error,
/// and becomes the command that it is given instead of building.
pub fn entering(package: &Package, sources: &Sources<'_>) -> String {
    let mut text = String::new();
    if is_i386(package) {
        let again = "exec setarch i686 /bin/sh \"$0\" \"$@\"";
        text.push_str(&format!("[ \"$(uname -m)\" != x86_64 ] || {again}\n"));
    }
    // Preparing sets parameters of its own, so the command waits in a function.
    text.push_str("begin() {\n");
    prepare(&mut text, package, sources);
    text.push_str("}\nbegin >&2\nset +e\nexec \"$@\"\n");
    text
}

fn is_i386(package: &Package) -> bool {
    package.architecture.as_str() == "i386"
}

/// Everything up to the package's own script.
fn prepare(text: &mut String, package: &Package, sources: &Sources<'_>) {
    let makes = makes_source_package(package, sources);
    let folder = quote(&folder(package));
    text.push_str("set -e\n");
    match sources.own {
        Source::Debian { dsc, files } => {
            let dsc = quote(&format!("{INPUTS}/source/{dsc}"));
            text.push_str(&format!("dpkg-source --no-check --extract {dsc} {folder}\n"));
            if makes {
                for file in files.iter().filter(|file| file.name.contains(".orig")) {
                    let from = quote(&format!("{INPUTS}/source/{}", file.name));
                    text.push_str(&format!("cp {from} .\n"));
                }
            }
        }
        Source::Tree { .. } | Source::Tarball { .. } | Source::File(_) => {
            text.push_str(&format!("cp -R {INPUTS}/source {folder}\n"));
        }
    }
    text.push_str(&format!("cd {folder}\n"));
    if sources.packaging.is_some() {
        text.push_str(&format!("rm -rf debian\ncp -R {INPUTS}/packaging/debian debian\n"));
    }
    for (index, (path, source)) in sources.extra.iter().enumerate() {
        put_extra(text, index, path, source);
    }
    if !package.files.is_empty() {
        text.push_str(&format!("cp -R {INPUTS}/files/. .\n"));
    }
    if !package.changelog.is_empty() {
        text.push_str(&format!(
            "cat {INPUTS}/changelog debian/changelog > ../changelog\n\
             cp ../changelog debian/changelog\nrm ../changelog\n"
        ));
    }
    let from_archive = matches!(sources.own, Source::Debian { .. });
    text.push_str(CHANGELOG);
    // What the graph says of the package and what its source says must be one thing.
    let expected = quote(&format!("{} {}", package.name, package.version));
    text.push_str(&format!(
        "if [ \"$said\" != {expected} ]; then\n\
         \techo \"error: the release builds\" {expected}\", its source is $said\" >&2\n\
         \texit 1\nfi\n"
    ));
    if makes {
        if !from_archive {
            text.push_str(TOUCH);
            upstream_tarball(text, package);
        }
        make_source_package(text, package, sources);
    }
    if !from_archive || !sources.extra.is_empty() {
        text.push_str(TOUCH);
    }
    check_control(text, package);
}

/// In the source folder: puts another source at `path`.
fn put_extra(text: &mut String, index: usize, path: &str, source: &Source) {
    let (from, to) = (format!("{INPUTS}/extra/{index}"), quote(path));
    let parent = quote(path.rsplit_once('/').map_or(".", |(parent, _)| parent));
    match source {
        Source::Debian { dsc, .. } => {
            let dsc = quote(&format!("{from}/{dsc}"));
            text.push_str(&format!(
                "rm -rf {to}\nmkdir -p {parent}\ndpkg-source --no-check --extract {dsc} {to}\n"
            ));
        }
        Source::Tree { .. } | Source::Tarball { .. } => {
            text.push_str(&format!("mkdir -p {to}\ncp -R {from}/. {to}\n"));
        }
        Source::File(file) => {
            let file = quote(&format!("{from}/{}", file.name));
            text.push_str(&format!("mkdir -p {parent}\ncp {file} {to}\n"));
        }
    }
}

/// Reads the changelog's top entry: one run of a program that takes longer to start than to read.
/// Lines of the entry itself begin with a space.
const CHANGELOG: &str = r#"entry=$(dpkg-parsechangelog)
while IFS= read -r line; do
	case "$line" in
	'Source: '*) said="${line#* }" ;;
	'Version: '*) said="$said ${line#* }" ;;
	'Timestamp: '*) SOURCE_DATE_EPOCH="${line#* }" ;;
	esac
done <<END_OF_ENTRY
$entry
END_OF_ENTRY
export SOURCE_DATE_EPOCH
unset entry line
"#;

/// A folder has no times of its own: every file gets that of the changelog.
const TOUCH: &str = "find . -exec touch -h -d \"@$SOURCE_DATE_EPOCH\" {} +\n";

/// In the source folder: applies the patches, makes a source package beside it, and goes on in
/// what that unpacks to.
fn make_source_package(text: &mut String, package: &Package, sources: &Sources<'_>) {
    let folder = quote(&folder(package));
    if !package.patches.is_empty() {
        if !sources.extra.is_empty() {
            text.push_str(COMMIT_EXTRA);
        }
        text.push_str(APPLY);
        for patch in &package.patches {
            let to = match patch.to {
                Patched::Source => "source",
                Patched::Packaging => "packaging",
            };
            text.push_str(&format!("apply {to} {}\n", quote(&patch.name)));
        }
        text.push_str(
            "if ! cmp -s debian/control ../control; then\n\
             \techo \"error: the patches change debian/control\" >&2\n\
             \texit 1\nfi\nrm ../control\n",
        );
    }
    let dsc = quote(&format!("{}_{}.dsc", package.name, without_epoch(package)));
    // gzip: the same bytes on any number of cores, and every source format takes it. Nothing is
    // left out: dpkg-source would drop `.gitignore` and its like, unless it is told what to drop.
    // A file that was put in place beside a pristine tarball becomes a patch of the source; its
    // heading would have today's date if dpkg-source wrote it.
    text.push_str(&format!(
        "set -- --compression=gzip --tar-ignore=.git\n\
         case \"$(cat debian/source/format 2>/dev/null)\" in\n\
         '3.0 (quilt)'*)\n\
         \tset -- \"$@\" --auto-commit --include-binaries\n\
         \techo 'Description: What the release puts into the source' > debian/source/local-patch-header\n\
         \t;;\n\
         esac\n\
         cd ..\n\
         dpkg-source \"$@\" -b {folder}\n\
         rm -rf {folder}\n\
         dpkg-source --no-check --extract {dsc} {folder}\n\
         cd {folder}\n"
    ));
}

/// In the source folder: the upstream tarball that a version with a revision needs. The pristine
/// one where there is one in a form that dpkg-source knows, else everything but `debian/`.
fn upstream_tarball(text: &mut String, package: &Package) {
    let Some(version) = version(package).filter(|version| version.revision().is_some()) else {
        return;
    };
    let folder = folder(package);
    let orig = quote(&format!("../{}_{}.orig.tar.", package.name, version.upstream()));
    text.push_str(&format!(
        "orig=\n\
         for file in {INPUTS}/upstream/*; do\n\
         \tcase \"$file\" in\n\
         \t*.tar.gz | *.tgz) orig={orig}gz ;;\n\
         \t*.tar.xz | *.txz) orig={orig}xz ;;\n\
         \t*.tar.bz2 | *.tbz2 | *.tbz) orig={orig}bz2 ;;\n\
         \tesac\n\
         \tif [ -n \"$orig\" ] && [ -f \"$file\" ]; then cp \"$file\" \"$orig\"; break; fi\n\
         done\n\
         if [ -z \"$orig\" ]; then\n\
         \ttar --create --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \\\n\
         \t\t--mtime=\"@$SOURCE_DATE_EPOCH\" --anchored --exclude={debian} \\\n\
         \t\t--directory=.. {folder} | gzip -9n > {orig}gz\n\
         fi\n",
        debian = quote(&format!("{folder}/debian")),
        folder = quote(&folder),
    ));
}

/// Makes what was put in beside a pristine tarball a patch of its own, before those that may change
/// it: dpkg-source applies them all to the tarball alone.
const COMMIT_EXTRA: &str = "\
case \"$(cat debian/source/format 2>/dev/null)\" in
'3.0 (quilt)'*)
	echo 'Description: What the release puts into the source' > debian/source/local-patch-header
	EDITOR=true VISUAL=true dpkg-source --include-binaries --commit . release-extra
	;;
esac
";

/// Applies a patch as dpkg-source does, without fuzz. In the format that keeps patches apart, one
/// of the source is kept so.
const APPLY: &str = r#"cp debian/control ../control
format="$(cat debian/source/format 2>/dev/null || true)"
apply() {
	set -- "$1" "$2" --strip=1 --fuzz=0 --forward --batch --unified --remove-empty-files
	case "$1 $format" in
	'source 3.0 (quilt)'*)
		mkdir -p .pc debian/patches
		[ -e .pc/.version ] || echo 2 > .pc/.version
		touch debian/patches/series
		sed -i -e '$a\' debian/patches/series
		echo "$2" >> debian/patches/series
		cp "/run/perestroika/patches/$2" "debian/patches/$2"
		set -- "$@" --backup --prefix=".pc/$2/"
		;;
	*) set -- "$@" --no-backup-if-mismatch ;;
	esac
	patch="$2"
	shift 2
	if ! patch "$@" --reject-file=.rejects < "/run/perestroika/patches/$patch" > ../patched 2>&1; then
		echo "error: patch $patch does not apply to the source:" >&2
		head -n 12 ../patched >&2
		[ ! -e .rejects ] || head -n 24 .rejects >&2
		exit 1
	fi
	cat ../patched
	rm -f ../patched
	[ ! -d .pc ] || [ ! -e "debian/patches/$patch" ] || echo "$patch" >> .pc/applied-patches
}
"#;

/// In the source folder: what the unpacked packaging says must be what the graph went by, and
/// what it needs must be there.
fn check_control(text: &mut String, package: &Package) {
    let binaries: Vec<&str> = package.binaries.iter().map(AsRef::as_ref).collect();
    text.push_str(&format!(
        "perl - {} {} {} <<'END_OF_CHECK'\n{CONTROL}END_OF_CHECK\n",
        quote(&package.build_depends.join(", ")),
        quote(&package.build_conflicts.join(", ")),
        quote(&binaries.join(" ")),
    ));
}

/// With dpkg's own understanding of a control file.
const CONTROL: &str = r#"use strict;
use warnings;
use Dpkg::Arch qw(get_host_arch debarch_is_concerned);
use Dpkg::BuildProfiles qw(get_build_profiles parse_build_profiles evaluate_restriction_formula);
use Dpkg::Control::Info;
use Dpkg::Deps;

my ($depends, $conflicts, $binaries) = @ARGV;
my $control = Dpkg::Control::Info->new('debian/control');
my $source = $control->get_source();
my $wrong = 0;
sub wrong { print STDERR "error: @_\n"; $wrong = 1; }
my %expected = map { $_ => 1 } split ' ', $binaries;
my (@any, @all);
for my $package ($control->get_packages()) {
    my $type = $package->{'Package-Type'} // $package->{'XC-Package-Type'} // 'deb';
    next unless $type eq 'deb';
    if (defined $package->{'Build-Profiles'}) {
        my @formula = parse_build_profiles($package->{'Build-Profiles'});
        next unless evaluate_restriction_formula(\@formula, [get_build_profiles()]);
    }
    my @architectures = split ' ', $package->{'Architecture'} // '';
    if (grep { $_ eq 'all' } @architectures) {
        push @all, $package->{'Package'};
    } elsif (debarch_is_concerned(get_host_arch(), @architectures)) {
        push @any, $package->{'Package'};
    }
}
# Packages for all architectures, and what only they need, are built on the first one.
my %of_architecture = map { $_ => 1 } @any;
my $indep = grep { !$of_architecture{$_} } keys %expected;
my $built = join ' ', sort(@any, $indep ? @all : ());
wrong("debian/control builds `$built`, the release expects `$binaries`") if $built ne $binaries;
for my $kind (['Build-Depends', $depends, 0], ['Build-Conflicts', $conflicts, 1]) {
    my ($name, $text, $union) = @$kind;
    my $known = deps_parse($text, build_dep => 1, union => $union);
    for my $field ($name, "$name-Arch", $indep ? "$name-Indep" : ()) {
        next unless defined $source->{$field};
        my $said = deps_parse($source->{$field}, build_dep => 1, union => $union,
            reduce_arch => 1, reduce_restrictions => 1);
        wrong("$field of debian/control cannot be read") unless defined $said;
        for my $item (defined $said ? $said->get_deps() : ()) {
            next if grep { $_->output() eq $item->output() || $_->implies($item) } $known->get_deps();
            wrong("$field of debian/control has `" . $item->output() .
                "`, the release does not: it has `$text`");
        }
    }
}
exit 1 if $wrong;
exec 'dpkg-checkbuilddeps', $indep ? () : '-B';
"#;

fn version(package: &Package) -> Option<Version> {
    package.version.parse().ok()
}

/// The version as names of files have it.
fn without_epoch(package: &Package) -> String {
    version(package).map_or_else(|| package.version.clone(), |it| it.without_epoch().to_owned())
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_quoted() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}

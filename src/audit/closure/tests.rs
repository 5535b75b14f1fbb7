use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::{ActionId, Architecture};
use crate::realise::record::Output;
use crate::spec::release::Level;

const ROOT: &[u8] = b"root";

/// A package of the archive: its name, and what it depends on.
fn archived(name: &str, depends: &str) -> Arc<BinaryPackage> {
    let depends = if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
    let control = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n{depends}");
    let sha256 = Sha256::of(format!("archive {name}").as_bytes());
    Arc::new(
        BinaryPackage::from_control(&control, &format!("pool/{name}.deb"), 10, sha256).unwrap(),
    )
}

/// A package of the release: it builds a binary package of its own name.
fn recipe(name: &str, needs: &[&Package]) -> Package {
    Package {
        name: name.parse().unwrap(),
        version: "2".to_owned(),
        architecture: "amd64".parse::<Architecture>().unwrap(),
        source: DerivationId::of(b"source"),
        packaging: None,
        patches: Vec::new(),
        extra: BTreeMap::new(),
        root: DerivationId::of(ROOT),
        dependencies: needs.iter().map(|need| id(need)).collect(),
        build_depends: Vec::new(),
        build_conflicts: Vec::new(),
        binaries: vec![name.parse().unwrap()],
        files: BTreeMap::new(),
        changelog: String::new(),
        script: String::new(),
        environment: BTreeMap::new(),
        profiles: Vec::new(),
        outputs: Vec::new(),
        from_seed: Vec::new(),
        seed: None,
    }
}

fn id(recipe: &Package) -> DerivationId {
    DerivationId::of(recipe.name.as_str().as_bytes())
}

/// What a build of this package left: bytes of its own, or the archive's.
fn output(name: &str, sha256: Sha256, version: &str) -> Output {
    Output {
        file: format!("{name}_{version}_amd64.deb"),
        size: 7,
        blake3: Digest::of(name.as_bytes()),
        sha256,
        control: format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n"),
    }
}

fn own(name: &str) -> Output {
    output(name, Sha256::of(format!("own {name}").as_bytes()), "2")
}

fn built(output: Output) -> Built {
    let record = Record {
        action: ActionId::of(output.file.as_bytes()),
        derivation: DerivationId::of(b"d"),
        outputs: vec![output],
        layers: Vec::new(),
        log: Digest::of(b""),
        receipt: BTreeMap::new(),
        circumstances: BTreeMap::new(),
        started: 0,
        elapsed: 1,
        cause: String::new(),
        causes: None,
        trace: None,
    };
    let digest = Digest::of(&record.to_json().encode());
    Built { digest, record: Arc::new(record), action_fits: true }
}

fn listed(output: &Output) -> Listed {
    let control = BinaryPackage::from_control(&output.control, "x.deb", 1, output.sha256).unwrap();
    Listed::of(&control)
}

/// A release whose pieces a test puts together.
struct Case<'a> {
    release: &'a Release,
    evidence: Evidence<'a>,
}

impl<'a> Case<'a> {
    /// A release over an archive of `libc`, `tool`, which needs it, and `xml`.
    fn new(release: &'a Release) -> Self {
        let archive = [archived("libc", ""), archived("tool", "libc"), archived("xml", "")];
        let index: Index = archive.into_iter().map(|one| (one.sha256, one)).collect();
        let evidence = Evidence {
            id: DerivationId::of(b"release"),
            release,
            indexes: BTreeMap::from([(DerivationId::of(ROOT), index)]),
            listed: Vec::new(),
            packages: Vec::new(),
            manifest: None,
            faults: Vec::new(),
            looked: Looked { depth: Depth::Bytes, objects: 0 },
        };
        Self { release, evidence }
    }

    fn number(&mut self, listed: Listed) -> u32 {
        let known = self.evidence.listed.iter().position(|known| *known == listed);
        let place = known.unwrap_or_else(|| {
            self.evidence.listed.push(listed);
            self.evidence.listed.len() - 1
        });
        u32::try_from(place).unwrap()
    }

    /// Adds a package that left `output`, built in a root of these.
    fn with(mut self, recipe: &'a Package, output: Output, root: &[Listed]) -> Self {
        let numbers = root.iter().map(|one| self.number(one.clone())).collect();
        let root = Inputs::Recorded(numbers);
        let built = Some(built(output));
        self.evidence.packages.push(Subject { id: id(recipe), recipe, built, root });
        self
    }

    /// Adds a package that is not built.
    fn without(mut self, recipe: &'a Package, root: &[Listed]) -> Self {
        let numbers = root.iter().map(|one| self.number(one.clone())).collect();
        let root = Inputs::Foreseen(numbers);
        self.evidence.packages.push(Subject { id: id(recipe), recipe, built: None, root });
        self
    }

    fn certificate(&self) -> Certificate {
        certify(&self.evidence)
    }

    /// The release is not closed, for exactly this reason.
    #[track_caller]
    fn is_open(&self, because: &str) {
        let certificate = self.certificate();
        let found: Vec<String> = certificate.findings.iter().map(ToString::to_string).collect();
        assert_eq!(found, [because]);
        assert_eq!((certificate.proved(), certificate.level_word()), (None, "open"));
        assert_eq!(certificate.reasons(Level::Sealed).len(), 1);
    }
}

fn release() -> Release {
    let (name, version) = ("demo".to_owned(), "1".to_owned());
    Release { name, version, customer: String::new(), packages: Vec::new() }
}

fn archive(name: &str, depends: &str) -> Listed {
    Listed::of(&archived(name, depends))
}

#[test]
fn a_release_of_the_archive_and_of_what_its_edges_lead_to_is_sealed() {
    let (lib, release) = (recipe("lib", &[]), release());
    let app = recipe("app", &[&lib]);
    let case = Case::new(&release)
        .with(&lib, own("lib"), &[archive("libc", ""), archive("tool", "libc")])
        .with(&app, own("app"), &[archive("libc", ""), listed(&own("lib"))]);
    let certificate = case.certificate();
    assert_eq!(certificate.findings, []);
    assert!(certificate.shadowed.is_empty());
    assert_eq!(certificate.proved(), Some(Level::Own));
    let shares: Vec<_> = certificate.packages.iter().map(|one| (one.own, one.seed)).collect();
    let share = |packages, bytes| Share { packages, bytes };
    assert_eq!(shares, [(share(0, 0), share(2, 20)), (share(1, 7), share(1, 10))]);
    assert_eq!((certificate.own, certificate.seed_share()), (share(1, 7), share(2, 20)));
    let roots: Vec<_> =
        certificate.seed.iter().map(|seed| (seed.first.as_str(), seed.roots)).collect();
    assert_eq!(roots, [("lib", 2), ("lib", 1)]);
    let reasons: Vec<String> =
        certificate.reasons(Level::SelfHosted).iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        ["`libc 1 amd64` in the build root of `lib` is seed, and one more package"]
    );
}

#[test]
fn a_package_of_no_universe_is_named_with_its_root() {
    let (lib, app, release) = (recipe("lib", &[]), recipe("app", &[]), release());
    // Nobody's.
    let stranger = listed(&own("stranger"));
    let case = Case::new(&release).with(&lib, own("lib"), &[archive("libc", ""), stranger]);
    case.is_open(
        "`stranger 2 amd64` in the build root of `lib` is neither in the pinned index nor built \
         by anything that `lib` needs",
    );
    // The release's, but of nothing that is needed.
    let case = Case::new(&release).with(&lib, own("lib"), &[]).with(
        &app,
        own("app"),
        &[listed(&own("lib"))],
    );
    case.is_open(
        "`lib 2 amd64` in the build root of `app` is neither in the pinned index nor built by \
         anything that `app` needs: it is built by `lib`",
    );
    // Bytes of the archive under another name.
    let renamed = Listed { name: "other".to_owned(), ..archive("libc", "") };
    let case = Case::new(&release).with(&lib, own("lib"), &[renamed]);
    case.is_open(
        "`other 1 amd64` in the build root of `lib` is neither in the pinned index nor built by \
         anything that `lib` needs",
    );
}

#[test]
fn an_own_package_under_another_version_is_foreign() {
    let (lib, release) = (recipe("lib", &[]), release());
    let app = recipe("app", &[&lib]);
    let listed = Listed { version: "3".to_owned(), ..listed(&own("lib")) };
    let case = Case::new(&release).with(&lib, own("lib"), &[]).with(&app, own("app"), &[listed]);
    assert!(matches!(&case.certificate().findings[..], [Finding::Foreign { whose: Some(_), .. }]));
}

#[test]
fn what_the_archive_has_in_the_place_of_an_own_package_is_shadowed() {
    let (libc, release) = (recipe("libc", &[]), release());
    let app = recipe("app", &[]);
    let seeded = Package { from_seed: vec!["libc".parse().unwrap()], ..recipe("seeded", &[&libc]) };
    let root = [archive("libc", ""), archive("tool", "libc")];
    let case = Case::new(&release)
        .with(&libc, own("libc"), &root)
        .with(&app, own("app"), &root)
        .with(&seeded, own("seeded"), &root);
    let certificate = case.certificate();
    assert_eq!(certificate.proved(), Some(Level::Sealed));
    let [shadowed] = &certificate.shadowed[..] else { panic!("{:?}", certificate.shadowed) };
    assert_eq!((shadowed.by.as_str(), shadowed.same), ("libc", Same::Differs));
    let roots: Vec<_> = shadowed.roots.iter().map(|(name, why)| (name.as_str(), *why)).collect();
    assert_eq!(roots, [("libc", Why::Itself), ("app", Why::NoEdge), ("seeded", Why::FromSeed)]);
    assert_eq!(shadowed.asked_by, ["tool".parse().unwrap()]);
    assert_eq!(
        certificate.reasons(Level::Own)[0].to_string(),
        "`libc 1 amd64` in the build root of `libc` is the archive's, though `libc` builds it: \
         nothing is built with what it makes itself (and in 2 other build roots)"
    );
}

#[test]
fn an_edge_that_cannot_be_is_told_from_one_that_is_not_there() {
    let (tool, release) = (recipe("tool", &[]), release());
    let libc = recipe("libc", &[&tool]);
    let case = Case::new(&release).with(&tool, own("tool"), &[archive("libc", "")]).with(
        &libc,
        own("libc"),
        &[listed(&own("tool"))],
    );
    let certificate = case.certificate();
    assert_eq!(certificate.shadowed[0].roots[0].1, Why::Round);
}

#[test]
fn bytes_that_the_release_builds_are_its_own_wherever_they_come_from() {
    let (libc, release) = (recipe("libc", &[]), release());
    let app = recipe("app", &[]);
    let same = output("libc", archive("libc", "").sha256, "1");
    let root = [archive("libc", "")];
    let case = Case::new(&release).with(&libc, same, &root).with(&app, own("app"), &root);
    let certificate = case.certificate();
    assert_eq!(certificate.proved(), Some(Level::SelfHosted));
    assert!(certificate.seed.is_empty());
}

#[test]
fn a_root_that_kept_the_archives_package_beside_the_offer_is_not_closed() {
    let (libc, release) = (recipe("libc", &[]), release());
    let app = recipe("app", &[&libc]);
    let case = Case::new(&release).with(&libc, own("libc"), &[]).with(
        &app,
        own("app"),
        &[archive("libc", "")],
    );
    case.is_open(
        "`libc 1 amd64` in the build root of `app` is the archive's, though `libc` builds it and \
         `app` needs `libc`",
    );
}

#[test]
fn what_is_not_built_proves_nothing_and_rules_out_what_is_certain() {
    let (libc, release) = (recipe("libc", &[]), release());
    let rebuilt = Package { version: "1".to_owned(), ..recipe("libc", &[]) };
    let app = recipe("app", &[]);
    let root = [archive("libc", "")];
    let mixed = Case::new(&release).with(&app, own("app"), &root).without(&libc, &root);
    let certificate = mixed.certificate();
    assert_eq!((certificate.proved(), certificate.level_word()), (None, "unproved"));
    assert_eq!(certificate.possible(), Some(Level::Sealed), "version 2 is not version 1");
    let rebuilt = Case::new(&release).without(&rebuilt, &root).without(&app, &root);
    let certificate = rebuilt.certificate();
    assert_eq!(certificate.shadowed[0].same, Same::Unknown);
    assert_eq!(certificate.possible(), Some(Level::SelfHosted), "it may come out the same");
}

#[test]
fn the_manifest_has_to_list_the_seed_and_the_records() {
    let (lib, release) = (recipe("lib", &[]), release());
    let case = || Case::new(&release).with(&lib, own("lib"), &[archive("libc", "")]);
    let enumerated = |seed: &[Listed], record: Digest| Enumerated {
        digest: Digest::of(b"manifest"),
        seed: seed.iter().cloned().collect::<BTreeSet<_>>(),
        records: BTreeMap::from([(id(&lib), record)]),
    };
    let record = built(own("lib")).digest;
    let mut good = case();
    good.evidence.manifest = Some(enumerated(&[archive("libc", "")], record));
    assert_eq!(good.certificate().findings, []);

    let mut short = case();
    short.evidence.manifest = Some(enumerated(&[], record));
    short.is_open("`libc 1 amd64` in the build root of `lib` is not in the seed of the manifest");
    let mut long = case();
    let seed = [archive("libc", ""), archive("xml", "")];
    long.evidence.manifest = Some(enumerated(&seed, record));
    long.is_open("`xml 1 amd64` in the seed of the manifest is in no build root");
    let mut other = case();
    other.evidence.manifest = Some(enumerated(&[archive("libc", "")], Digest::of(b"other")));
    let told = "the manifest has another record of `lib`\n  manifest ";
    other.is_open(&format!("{told}{}\n  adopted  {record}", Digest::of(b"other")));
}

#[test]
fn edges_out_of_the_release_and_actions_of_other_recipes_are_found() {
    let (lib, release) = (recipe("lib", &[]), release());
    let app = recipe("app", &[&lib]);
    Case::new(&release)
        .with(&app, own("app"), &[])
        .is_open(&format!("`app` needs {}, which is no package of the release", id(&lib)));
    let mut case = Case::new(&release).with(&lib, own("lib"), &[]);
    if let Some(built) = &mut case.evidence.packages[0].built {
        built.action_fits = false;
    }
    let action = ActionId::of(b"lib_2_amd64.deb");
    let told = format!("action {action} of the record of `lib` is not what this program makes");
    assert!(case.certificate().findings[0].to_string().starts_with(&told));
}

#[test]
fn a_certificate_is_canonical_and_states_what_was_found() {
    let (lib, release) = (recipe("lib", &[]), release());
    let mut case = Case::new(&release).with(&lib, own("lib"), &[archive("libc", "")]);
    case.evidence.faults.push(Fault {
        package: "lib".to_owned(),
        what: "output `lib_2_amd64.deb`".to_owned(),
        digest: "ab".to_owned(),
        wrong: Wrong::Missing,
    });
    case.is_open("output `lib_2_amd64.deb` of `lib` is missing from the store\n  named ab");
    let bytes = case.certificate().to_json().encode();
    let text = String::from_utf8(bytes.clone()).unwrap();
    crate::base::Json::read_canonical(&bytes).unwrap();
    for part in [
        r#""format":"perestroika/certificate/1""#,
        r#""level":"open""#,
        r#""looked":{"depth":"bytes","objects":0}"#,
        r#""findings":["output `lib_2_amd64.deb` of `lib` is missing"#,
        r#""architecture":"amd64","name":"libc","roots":1"#,
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(case.release.name, "demo");
}

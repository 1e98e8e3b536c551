//! `kopuro pki`: keys and certificates for development and for a pilot's first day.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use kopuro_core::id::Instance;
use kopuro_core::time::Clock as _;
use kopuro_registry::anchor::Anchor;
use kopuro_telemetry::clock::SystemClock;
use kopuro_trust::key_file::write_secret;
use kopuro_trust::pki::files::{write_authority, write_issued, write_key};
use kopuro_trust::pki::{Authority, CertificatePurpose, NewKey, Validity, new_member_secret};
use kopuro_trust::signing::{SignatureAlgorithm, VerifyingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use super::say;

#[derive(Debug, Args)]
pub(crate) struct PkiArguments {
    #[command(subcommand)]
    command: PkiCommand,
}

#[derive(Debug, Subcommand)]
enum PkiCommand {
    /// Make a root certificate authority.
    Authority(Named),
    /// Make a certificate authority under another one, for one member say.
    Ca(Issuing),
    /// Issue a gateway's certificate: server to its members' systems, client to providers.
    Gateway(Issuing),
    /// Issue a certificate of an agency's information system: client of its gateway, or server behind it.
    System(Issuing),
    /// Issue the certificate of a central service, such as the registry.
    Service(Issuing),
    /// Issue the certificate of a member's operator, who only calls.
    Member(Issuing),
    /// Make a key that needs no certificate.
    Key(KeyArguments),
    /// Draw the secret that the replicas of a member's gateway share.
    Secret {
        /// The file to write, which must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the anchor that every gateway is given out of band.
    Anchor(AnchorArguments),
}

#[derive(Debug, Args)]
struct Named {
    /// The folder to write to; files that exist are left alone.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// The common name, and the name of the files.
    #[arg(long)]
    name: String,
    /// How many days the certificate is valid.
    #[arg(long, default_value_t = 365)]
    days: u64,
}

#[derive(Debug, Args)]
struct Issuing {
    #[command(flatten)]
    named: Named,
    /// The issuing authority's files without `.crt.pem` and `.key.pem`.
    #[arg(long, value_name = "PREFIX")]
    authority: PathBuf,
    /// Further DNS names and IP addresses of a server; localhost is always among them.
    #[arg(long = "dns", value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct KeyArguments {
    /// The folder to write to; files that exist are left alone.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// The name of the files.
    #[arg(long)]
    name: String,
    /// What the key is for. A key has one purpose.
    #[arg(long)]
    purpose: KeyPurpose,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyPurpose {
    /// A gateway's statements (ECDSA P-256).
    Signing,
    /// Content sealed to a subsystem (P-256).
    Sealing,
    /// A member's own records (ECDSA P-256).
    Administration,
    /// The authority's records (ECDSA P-256).
    Authority,
    /// Attestations of contracts (ECDSA P-256).
    Attestation,
    /// Checkpoints of the registry (Ed25519).
    Checkpoint,
}

#[derive(Debug, Args)]
struct AnchorArguments {
    /// The instance, such as KG.
    #[arg(long)]
    instance: Instance,
    /// A public key of the authority, PEM; repeat it for several.
    #[arg(long = "authority-key", required = true)]
    authority_keys: Vec<PathBuf>,
    /// How many of them must sign.
    #[arg(long, default_value_t = 1)]
    signatures: usize,
    /// A certificate authority of systems and gateways, PEM; repeat it for several.
    #[arg(long = "tls-authority", required = true)]
    tls_authorities: Vec<PathBuf>,
    /// The file to write, which must not exist.
    #[arg(long, default_value = "anchor.toml")]
    out: PathBuf,
}

/// Makes what is asked for.
pub(crate) fn run(arguments: &PkiArguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        PkiCommand::Authority(named) => {
            let authority = Authority::create_root(&named.name, validity(named.days))?;
            let files = write_authority(&named.out, &named.name, &authority)?;
            written(&[files.chain, files.key]);
        }
        PkiCommand::Ca(issuing) => {
            let authority = read_authority(&issuing.authority)?;
            let Named { out, name, days } = &issuing.named;
            let made = authority.create_intermediate(name, validity(*days))?;
            let files = write_authority(out, name, &made)?;
            written(&[files.chain, files.key]);
        }
        PkiCommand::Gateway(issuing) => issue(issuing, CertificatePurpose::Gateway)?,
        PkiCommand::System(issuing) => issue(issuing, CertificatePurpose::System)?,
        PkiCommand::Service(issuing) => issue(issuing, CertificatePurpose::Service)?,
        PkiCommand::Member(issuing) => issue(issuing, CertificatePurpose::Client)?,
        PkiCommand::Key(KeyArguments { out, name, purpose }) => {
            let files = write_key(out, name, &make_key(*purpose))?;
            written(&[files.private, files.public]);
        }
        PkiCommand::Secret { out } => {
            write_secret(out, new_member_secret().as_slice())?;
            written(std::slice::from_ref(out));
        }
        PkiCommand::Anchor(arguments) => write_anchor(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn issue(issuing: &Issuing, purpose: CertificatePurpose) -> anyhow::Result<()> {
    let Named { out, name, days } = &issuing.named;
    let names: Vec<&str> = issuing.names.iter().map(String::as_str).collect();
    let issued = read_authority(&issuing.authority)?.issue(purpose, name, &names, validity(*days))?;
    let files = write_issued(out, name, &issued)?;
    written(&[files.chain, files.key]);
    say(format_args!("key id: {}", issued.key_id()?));
    Ok(())
}

fn make_key(purpose: KeyPurpose) -> NewKey {
    match purpose {
        KeyPurpose::Sealing => NewKey::sealing(),
        KeyPurpose::Checkpoint => NewKey::signing(SignatureAlgorithm::Ed25519),
        KeyPurpose::Signing
        | KeyPurpose::Administration
        | KeyPurpose::Authority
        | KeyPurpose::Attestation => NewKey::signing(SignatureAlgorithm::EcdsaP256Sha256),
    }
}

fn write_anchor(arguments: &AnchorArguments) -> anyhow::Result<()> {
    let AnchorArguments { instance, authority_keys, signatures, tls_authorities, out } = arguments;
    let keys = authority_keys.iter().map(|path| read_public_key(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let anchor = Anchor {
        instance: instance.clone(),
        authority_keys: keys,
        authority_signatures: *signatures,
        tls_authorities: tls_authorities.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?,
    };
    let text = anchor.to_toml();
    Anchor::parse(&text)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(out)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    written(std::slice::from_ref(out));
    Ok(())
}

fn read_authority(prefix: &Path) -> anyhow::Result<Authority> {
    let read = |kind: &str| {
        let path = PathBuf::from(format!("{}.{kind}.pem", prefix.display()));
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    };
    Ok(Authority::from_pem(&read("crt")?, &read("key")?)?)
}

/// Reads a PEM public key.
pub(crate) fn read_public_key(path: &Path) -> anyhow::Result<VerifyingKey> {
    let spki = read_spki(path)?;
    VerifyingKey::from_spki_der(&spki).with_context(|| format!("{} is no signing key", path.display()))
}

/// Reads the DER SubjectPublicKeyInfo of a PEM public key or certificate.
pub(crate) fn read_spki(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(&text) {
        return Ok(key.to_vec());
    }
    kopuro_trust::pki::spki_of_pem_certificate(&text)
        .with_context(|| format!("{} is neither a public key nor a certificate in PEM", path.display()))
}

fn validity(days: u64) -> Validity {
    let now = SystemClock.now();
    let not_after = now.plus(Duration::from_secs(days.saturating_mul(24 * 3600)));
    Validity { not_before: now.minus(Duration::from_secs(300)), not_after }
}

fn written(files: &[PathBuf]) {
    for file in files {
        say(format_args!("wrote {}", file.display()));
    }
}

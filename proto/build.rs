//! Compiles every schema beneath `kopuro` and `examples`: Rust types and services, and descriptor sets.
//!
//! `buf/validate/validate.proto` is resolved from the descriptors inside prost-protovalidate-types, so that rules
//! are read by the version that enforces them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

/// Where imports are looked up. `examples` stands first: a file beneath it is named from there, not from here.
const ROOTS: [&str; 2] = ["examples", "."];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kopuro");
    println!("cargo:rerun-if-changed=examples");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut all = schemas_beneath(Path::new("kopuro"))?;
    let examples = schemas_beneath(Path::new("examples"))?;
    for package in packages(&examples) {
        let files = examples.iter().filter(|file| file.parent() == Some(package));
        fs::write(out_dir.join(contract_file_name(package)?), descriptor_set(files)?)?;
    }
    all.extend(examples);
    fs::write(out_dir.join("descriptor_set.binpb"), descriptor_set(&all)?)?;
    generate(&all)
}

/// Writes the Rust types of `files`. Imports are given too, since prost-build looks into them; only the types of
/// rules are left out, which nothing here is made of.
fn generate(files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut compiler = compiler()?;
    let compiler = compiler.open_files(files)?.include_imports(true).include_source_info(true);
    let mut descriptors = compiler.file_descriptor_set();
    descriptors.file.retain(|file| file.package() != "buf.validate");
    tonic_prost_build::configure()
        .bytes(".kopuro.exchange.v1")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

/// The descriptors of `files` and of all they import, without comments. Custom options, and so every rule,
/// survive this encoding; through prost's own descriptor types they would not.
fn descriptor_set<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(compiler()?.open_files(files)?.include_imports(true).encode_file_descriptor_set())
}

fn compiler() -> Result<Compiler, Box<dyn Error>> {
    let mut resolver = ChainFileResolver::new();
    for root in ROOTS {
        resolver.add(IncludeFileResolver::new(root.into()));
    }
    resolver.add(GoogleFileResolver::new());
    let validate = prost_protovalidate_types::DESCRIPTOR_POOL.encode_to_vec();
    resolver.add(DescriptorSetFileResolver::decode(validate.as_slice())?);
    Ok(Compiler::with_file_resolver(resolver))
}

/// The packages' folders, each once, in order.
fn packages(files: &[PathBuf]) -> Vec<&Path> {
    let mut packages: Vec<_> = files.iter().filter_map(|file| file.parent()).collect();
    packages.dedup();
    packages
}

/// `examples/kg/socialfund/v1` → `kg.socialfund.v1.binpb`.
fn contract_file_name(package: &Path) -> Result<String, Box<dyn Error>> {
    let parts: Vec<_> = package.strip_prefix("examples")?.iter().map(|part| part.to_string_lossy()).collect();
    Ok(format!("{}.binpb", parts.join(".")))
}

/// The `.proto` files beneath `folder`, sorted, so that builds are reproducible.
fn schemas_beneath(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(schemas_beneath(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

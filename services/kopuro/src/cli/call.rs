//! `kopuro call`: a method by its name, JSON in, JSON out.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kopuro_core::id::MethodId;
use prost::Message as _;
use serde_json::{Value, json};
use tonic_types::pb;

use super::{say, usage};
use crate::client::{Client, Connection};

#[derive(Debug, Args)]
pub(crate) struct CallArguments {
    /// The method, such as kg.socialfund.v1.PensionService/GetPensionInfo.
    method: String,
    /// The request as JSON; `-` reads it from standard input.
    #[arg(default_value = "{}")]
    json: String,
    #[command(flatten)]
    connection: ConnectionArguments,
    /// A metadata entry; repeat it for several.
    #[arg(short = 'H', long = "metadata", value_name = "NAME: VALUE")]
    metadata: Vec<String>,
    /// How long to wait, such as 500ms, 2s or 1m.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = usage::span)]
    timeout: Duration,
    /// Show the response's metadata too.
    #[arg(short, long)]
    verbose: bool,
}

/// How to reach a server. The options may stand before and after a subcommand.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// The server, such as `https://127.0.0.1:8443`.
    #[arg(long, value_name = "URL", env = "KOPURO_CONNECT", global = true)]
    connect: Option<String>,
    /// The caller's certificate chain, PEM.
    #[arg(long, value_name = "FILE", env = "KOPURO_CERTIFICATE", global = true)]
    certificate: Option<PathBuf>,
    /// Its key, PEM PKCS#8.
    #[arg(long, value_name = "FILE", env = "KOPURO_KEY", global = true)]
    key: Option<PathBuf>,
    /// The authority of the server's certificate, PEM.
    #[arg(long, value_name = "FILE", env = "KOPURO_AUTHORITY", global = true)]
    authority: Option<PathBuf>,
}

impl ConnectionArguments {
    /// The options that are needed and were not given.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let Self { connect, certificate, key, authority } = self;
        let missing = [
            ("--connect", connect.is_none()),
            ("--certificate", certificate.is_none()),
            ("--key", key.is_none()),
            ("--authority", authority.is_none()),
        ];
        missing.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect()
    }

    /// A client for the server.
    pub(crate) fn client(self) -> anyhow::Result<Client> {
        usage::require(&self.missing())?;
        let Self { connect, certificate, key, authority } = self;
        Ok(Client::new(&Connection {
            endpoint: connect.unwrap_or_default(),
            certificate: certificate.unwrap_or_default(),
            key: key.unwrap_or_default(),
            authority: authority.unwrap_or_default(),
        })?)
    }
}

/// Makes the call and prints what came of it. A status other than OK ends with exit code 1.
pub(crate) async fn run(arguments: CallArguments) -> anyhow::Result<ExitCode> {
    let CallArguments { method, json, connection, metadata, timeout, verbose } = arguments;
    let method = MethodId::parse_path(&format!("/{}", method.trim_start_matches('/')))?;
    let json = if json == "-" { read_input()? } else { json };
    let metadata = metadata.iter().map(|entry| split(entry)).collect::<anyhow::Result<Vec<_>>>()?;
    let client = connection.client()?;
    let reply = client.call_json(&method, &metadata, &json, timeout).await?;
    if verbose {
        for (name, value) in &reply.metadata {
            say(format_args!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    match reply.result {
        Ok(message) => {
            say(String::from_utf8_lossy(&message));
            Ok(ExitCode::SUCCESS)
        }
        Err(status) => {
            say(format_args!("{:#}", status_json(&status)));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn read_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn split(entry: &str) -> anyhow::Result<(&str, &str)> {
    let (name, value) = entry.split_once(':').context("a metadata entry is NAME: VALUE")?;
    Ok((name.trim(), value.trim()))
}

/// A status with the details that the bus gives.
pub(crate) fn status_json(status: &pb::Status) -> Value {
    let mut shown = json!({ "code": code_name(status.code), "message": status.message });
    for detail in &status.details {
        match detail.type_url.rsplit('/').next() {
            Some("google.rpc.ErrorInfo") => {
                if let Ok(info) = pb::ErrorInfo::decode(detail.value.as_slice()) {
                    shown["reason"] = info.reason.into();
                    shown["metadata"] = json!(info.metadata);
                }
            }
            Some("google.rpc.BadRequest") => {
                if let Ok(bad) = pb::BadRequest::decode(detail.value.as_slice()) {
                    let violation = |field: &pb::bad_request::FieldViolation| json!({ "field": field.field, "description": field.description });
                    shown["violations"] = bad.field_violations.iter().map(violation).collect();
                }
            }
            Some(_) | None => {}
        }
    }
    shown
}

/// A code as the gRPC specification writes it, such as `INVALID_ARGUMENT`.
fn code_name(code: i32) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", tonic::Code::from_i32(code)).chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_as_in_the_specification() {
        let names = [3, 4, 14, 99].map(code_name);
        assert_eq!(names, ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNKNOWN"]);
    }
}

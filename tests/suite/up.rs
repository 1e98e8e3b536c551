//! `kopuro up` as a newcomer starts it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use kopuro::config::Config;
use kopuro::development::{Development, Options, passing_instance};
use kopuro::examples::PERSON;
use kopuro_core::time::Clock as _;
use kopuro_proto::examples::kg::civilregistry::v1 as civil;
use kopuro_telemetry::clock::SystemClock;
use kopuro_tests::prerequisite::{KAFKA, prerequisite};
use prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::command::{UP_LIMIT, Up, ended, kopuro, run, terminate};
use crate::edge::PENSION;
use crate::node::client;
use crate::probe::{GOOD_PIN, Probe, pension_request};
use crate::wire::LIMIT;

const PERSON_BY_PIN: &str = "/kg.civilregistry.v1.CivilRegistryService/GetPerson";

/// How many files a first start has made, more from one kill to the next.
const FILES_STEP: usize = 9;

/// A started `kopuro up`, and what it writes for its user.
struct Started {
    child: Child,
    screen: Lines<BufReader<ChildStdout>>,
}

impl Started {
    fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = kopuro();
        let command = command.arg("up").args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let screen = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, screen }
    }

    /// What it writes up to the end of the first line that holds `wanted`, and of those that continue it.
    async fn says(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        let reading = async {
            while let Some(line) = self.screen.next_line().await.unwrap() {
                said += &line;
                said += "\n";
                if said.contains(wanted) && !line.ends_with('\\') {
                    return;
                }
            }
            panic!("it ended");
        };
        let read = tokio::time::timeout(UP_LIMIT, reading).await;
        read.unwrap_or_else(|_| panic!("it does not say {wanted:?}: {said}"));
        said
    }

    /// Runs the call that it tells its user to try, in another folder.
    async fn try_call(&mut self) -> Output {
        let said = self.says(" call kg.").await;
        let command = &said[said.rfind("\n\n").expect("the command stands apart")..];
        let elsewhere = tempfile::tempdir().unwrap();
        let shell = Command::new("sh").args(["-c", command]).current_dir(&elsewhere).output();
        tokio::time::timeout(2 * LIMIT, shell).await.expect("the call ends in time").unwrap()
    }

    /// Kills it, as the loss of power would, once this many files are in its folder. Says whether it still made them.
    async fn killed_at(mut self, data: &Path, files: usize) -> bool {
        let started = Instant::now();
        let is_made = || data.join("kopuro.toml").exists();
        while files_in(data) < files && !is_made() {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended before it had made {files} files");
            assert!(started.elapsed() < UP_LIMIT, "it has not made {files} files");
            tokio::task::yield_now().await;
        }
        self.child.kill().await.unwrap();
        !is_made()
    }

    async fn stop(self) {
        terminate(&self.child).await;
        assert_eq!(ended(self.child).await.code(), Some(0));
    }
}

fn assert_answered(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["pin_infos"][0]["full_name"], PERSON.full_name());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_can_be_called_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("Ainura's instance");
    let mut up = Started::new([OsStr::new("--data"), data.as_os_str()]);
    let said = up.says("invented data").await;
    for named in ["civil-registry", "pensions", "violations"] {
        assert!(said.contains(named), "{named}: {said}");
    }
    assert_answered(&up.try_call().await);
    let config = Config::load(&data.join("kopuro.toml")).unwrap();
    let gateways = config.gateways.iter().flat_map(|gateway| [Some(gateway.listen), gateway.operations]);
    let ports = gateways.chain([config.registry.map(|registry| registry.listen)]);
    assert!(ports.flatten().all(|address| address.port() != 0), "a port is not kept");
    up.stop().await;

    for (other, expected) in
        [(["--instance", "OTHER"], "the instance KG"), (["--kafka", "127.0.0.1:9"], "broker")]
    {
        refused(&data, &other, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_killed_at_any_moment_is_taken_up_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    Development::make(&whole, &passing_instance(), SystemClock.now(), &Options::default()).unwrap();
    let mut kills = 0;
    for files in (0..=files_in(&whole)).step_by(FILES_STEP) {
        let data = folder.path().join(files.to_string());
        let start = || Started::new([OsStr::new("--no-examples"), "--data".as_ref(), data.as_os_str()]);
        kills += usize::from(start().killed_at(&data, files).await);
        let mut again = start();
        again.says("is ready").await;
        again.stop().await;
        assert!(!data.join(".making").exists(), "what the first start left was not cleared away");
    }
    assert!(kills > 0, "no first start was cut short");
    println!("{kills} first starts were cut short");
}

/// How many files stand in a folder and the folders within it.
fn files_in(folder: &Path) -> usize {
    let Ok(entries) = folder.read_dir() else { return 0 };
    // A file may be moved on between its listing and a look at it.
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

/// A start that ends at once, and says why.
async fn refused(data: &Path, more: &[&str], expected: &str) {
    let arguments = [&["up", "--data", data.to_str().unwrap()], more].concat();
    let output = run(&arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(expected), "{more:?}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_stand_in_where_no_system_is_named() {
    let probe = Probe::default();
    let up = Up::create([("pensions", probe.router())], None).await;
    let data = up.development.config().parent().unwrap().to_owned();
    let mut up = up.given(["--data".into(), data.into()]);
    up.start().await;
    let portal = client(&up.development, "portal", up.gateway("gw-portal"));
    let own = portal.call(PENSION, &[], pension_request(GOOD_PIN).encode_to_vec().into(), LIMIT).await;
    assert!(own.unwrap().result.is_ok());
    assert_eq!(probe.calls(), 1, "the system that is named was not asked");
    let request =
        civil::GetPersonRequest { pin: PERSON.pin.into(), with_documents: true, with_address: true };
    let example = portal.unary::<_, civil::GetPersonResponse>(PERSON_BY_PIN, &[], &request, LIMIT).await;
    assert_eq!(example.unwrap().unwrap().person.unwrap().documents.len(), 1);
    up.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_ones_own_is_run_without_examples() {
    let up = Up::create([("pensions", Probe::default().router())], None).await;
    let config = up.development.config();
    let mut up = up.given(["--config".into(), config.into()]);
    up.start().await;
    let logged = up.logged();
    let served = |system: &str| logged.contains(&format!("serving subsystem=KG/GOV/{system}"));
    assert!(served("70000011/pensions"), "{logged}");
    assert!(!served("70000005/civil-registry") && !served("70000023/violations"), "{logged}");
    up.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_examples_run_when_they_are_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("instance");
    let mut up = Started::new([OsStr::new("--no-examples"), "--data".as_ref(), data.as_os_str()]);
    up.says("no example systems run").await;
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_share_a_kafka_have_names_of_their_own() {
    let Some(kafka) = prerequisite(KAFKA, "instances that share a Kafka") else { return };
    let folder = tempfile::tempdir().unwrap();
    let [name, other] = [passing_instance(), passing_instance()].map(|instance| instance.to_string());
    let data = |name: &str| folder.path().join(name);
    let start = |at: &str, name: &str| {
        let data = data(at);
        Started::new(["--kafka", &kafka, "--instance", name, "--data", data.to_str().unwrap()])
    };
    let mut first = start("first", &name);
    assert_answered(&first.try_call().await);

    let second = data("second");
    refused(&second, &["--kafka", &kafka, "--instance", &name], "--instance").await;
    assert!(!second.exists(), "an instance was made that cannot be started");

    let mut second = start("second", &other);
    assert_answered(&second.try_call().await);
    let found = Development::find(&data("second")).unwrap().unwrap();
    assert_eq!(found.instance().as_str(), other);
    first.stop().await;
    second.stop().await;
}

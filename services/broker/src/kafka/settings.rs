//! How a Kafka cluster is reached, and how librdkafka is set.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::port::TopicSettings;

/// The largest record any topic may take. **Units:** bytes.
pub(super) const RECORD_BYTES_LIMIT: u32 = 16 << 20;
/// How much of a topic's limit Kafka's own framing and the headers of a record may take. **Units:** bytes.
const FRAMING_BYTES: u32 = 32 << 10;
/// How many bytes of records librdkafka puts into one batch; Kafka holds a topic's limit against the whole batch.
const BATCH_BYTES: u32 = 256 << 10;

/// How to reach a Kafka cluster. It holds paths of keys, never keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Addresses of some of the brokers, as `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// Mutual TLS; without it the connection is plain, which only suits loopback.
    pub tls: Option<KafkaTls>,
    /// On how many brokers a topic that is made here is kept.
    pub replication_factor: u16,
    /// How many of them must have a record before it is acknowledged.
    pub in_sync_replicas_min: u16,
    /// How long an append may take before its fate is reported unknown. **Units:** milliseconds.
    pub append_timeout_ms: u32,
    /// How long any other request may take. **Units:** milliseconds.
    pub request_timeout_ms: u32,
}

/// The files of a client that authenticates by certificate, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTls {
    /// The authorities trusted to sign the brokers' certificates.
    pub ca: PathBuf,
    /// This client's certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The certificate's private key, unencrypted.
    pub key: PathBuf,
}

/// What is wrong with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsFault {
    /// Nothing to connect to.
    #[error("bootstrap_servers is empty")]
    NoServers,
    /// An entry is no address.
    #[error("bootstrap_servers holds an entry that is not host:port")]
    Server,
    /// A topic cannot have so many in-sync replicas, or none.
    #[error("in_sync_replicas_min must be between 1 and replication_factor")]
    Replicas,
    /// librdkafka's limits.
    #[error("append_timeout_ms and request_timeout_ms must be between 100 and 300000")]
    Timeout,
}

impl KafkaSettings {
    /// Settings for a cluster: three replicas, of which two must have a record before it is acknowledged.
    pub fn cluster(bootstrap_servers: Vec<String>) -> Self {
        Self {
            bootstrap_servers,
            tls: None,
            replication_factor: 3,
            in_sync_replicas_min: 2,
            append_timeout_ms: 10_000,
            request_timeout_ms: 5_000,
        }
    }

    /// Settings for a single plain broker, as development and tests have it: one replica.
    pub fn single_broker(address: impl Into<String>) -> Self {
        Self { replication_factor: 1, in_sync_replicas_min: 1, ..Self::cluster(vec![address.into()]) }
    }

    /// Everything that is wrong with the settings.
    pub fn faults(&self) -> Vec<SettingsFault> {
        let is_address = |server: &String| {
            let (host, port) = server.rsplit_once(':').unwrap_or_default();
            !host.is_empty() && !server.contains(',') && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        let timeouts = [self.append_timeout_ms, self.request_timeout_ms];
        let checks = [
            (self.bootstrap_servers.is_empty(), SettingsFault::NoServers),
            (!self.bootstrap_servers.iter().all(is_address), SettingsFault::Server),
            (!(1..=self.replication_factor).contains(&self.in_sync_replicas_min), SettingsFault::Replicas),
            (!timeouts.iter().all(|timeout_ms| (100..=300_000).contains(timeout_ms)), SettingsFault::Timeout),
        ];
        checks.into_iter().filter_map(|(wrong, fault)| wrong.then_some(fault)).collect()
    }

    /// The time limit of a request.
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }

    /// The settings of the client that asks and makes, and neither appends nor reads.
    pub(super) fn control(&self) -> ClientConfig {
        self.client()
    }

    /// The settings of the client that appends: idempotent, acknowledged by all in-sync replicas, no lingering.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", self.append_timeout_ms.to_string())
            .set("request.timeout.ms", self.append_timeout_ms.to_string())
            .set("batch.size", BATCH_BYTES.to_string())
            .set("message.max.bytes", (RECORD_BYTES_LIMIT + FRAMING_BYTES).to_string())
            .set("queue.buffering.max.messages", "16384")
            .set("queue.buffering.max.kbytes", "65536")
            .set("topic.metadata.propagation.max.ms", "3000");
        config
    }

    /// The settings of the client that tails partitions. librdkafka wants a group's name of any consumer, and asks for its
    /// coordinator; this one never joins.
    pub(super) fn tail(&self) -> ClientConfig {
        let mut config = self.consumer("kopuro-tail");
        config.set("auto.offset.reset", "error");
        config
    }

    /// The settings of a member of a group.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        config
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000");
        config
    }

    /// What a topic is made with.
    pub(super) fn topic(&self, settings: &TopicSettings) -> Vec<(&'static str, String)> {
        let retention_ms = settings.retention.map_or("-1".to_owned(), |span| span.as_millis().to_string());
        let batch_bytes_max = settings.record_bytes_max.max(BATCH_BYTES) + FRAMING_BYTES;
        vec![
            ("cleanup.policy", "delete".to_owned()),
            ("max.message.bytes", batch_bytes_max.to_string()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("min.insync.replicas", self.in_sync_replicas_min.to_string()),
            ("retention.bytes", "-1".to_owned()),
            ("retention.ms", retention_ms),
        ]
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "8192")
            .set("message.max.bytes", (RECORD_BYTES_LIMIT + FRAMING_BYTES).to_string())
            .set("fetch.max.bytes", (RECORD_BYTES_LIMIT + FRAMING_BYTES).to_string());
        config
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap_servers.join(","))
            .set("client.id", "kopuro")
            // Obeyed by producers too, whose default is to let the brokers make topics.
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "50")
            .set_log_level(RDKafkaLogLevel::Info);
        if let Some(KafkaTls { ca, certificate, key }) = &self.tls {
            config
                .set("security.protocol", "ssl")
                .set("ssl.ca.location", ca.to_string_lossy())
                .set("ssl.certificate.location", certificate.to_string_lossy())
                .set("ssl.key.location", key.to_string_lossy());
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_found_at_once() {
        assert_eq!(KafkaSettings::single_broker("127.0.0.1:9092").faults(), []);
        assert_eq!(KafkaSettings::single_broker("[::1]:9092").faults(), []);
        for server in ["", "host", "host:", ":1", "host:0", "host:66000", "a:1,b:1"] {
            assert_eq!(KafkaSettings::single_broker(server).faults(), [SettingsFault::Server], "{server}");
        }
        let mut settings = KafkaSettings::single_broker("");
        settings.in_sync_replicas_min = 2;
        settings.request_timeout_ms = 0;
        assert_eq!(
            settings.faults(),
            [SettingsFault::Server, SettingsFault::Replicas, SettingsFault::Timeout]
        );
        settings.bootstrap_servers.clear();
        assert_eq!(settings.faults()[0], SettingsFault::NoServers);
    }

    #[test]
    fn librdkafka_takes_every_setting() {
        let settings = KafkaSettings::single_broker("127.0.0.1:1");
        for config in [settings.control(), settings.producer(), settings.tail(), settings.member("group")] {
            config.create_native_config().unwrap();
        }
        assert_eq!(settings.producer().get("enable.idempotence"), Some("true"));
        assert_eq!(settings.member("group").get("enable.auto.offset.store"), Some("false"));
    }
}

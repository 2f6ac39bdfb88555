//! The TLS that workloads and the control plane speak: TLS 1.3 alone, hybrid post-quantum key exchange first.
//!
//! A [`Generation`] makes every configuration for one certificate and one trust bundle. When either changes, make a
//! new generation and swap whole configurations: certificate, verifier and everything cached with them then change
//! together, and established connections finish under what they began with.
//!
//! | from | certificate | verifies | for |
//! |---|---|---|---|
//! | [`Generation::mesh_server`] | ours | client, required | inbound proxies |
//! | [`Generation::control_plane_server`] | ours, with its root | client, if it has one | discovery and identity |
//! | [`Generation::client`] | ours | server, by expected identity | outbound proxies, renewals |
//! | [`bundle_client`] | none | server, by expected identity | first contact where the roots are known |
//! | [`pinned_client`] | none | server, by its root's fingerprint | first contact with a join token |

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use aws_lc_rs::rand;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs as suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use weft_mesh::name::Identity;

use crate::verify::{ClientVerifier, Pinned, ServerVerifier, verify_client};
use crate::{Error, ExpectedIdentities, Fingerprint, TrustBundle, WorkloadCertificate, pem, x509};

/// Several streams of HTTP between two sidecars, in our own framing.
pub const ALPN_WEFT: &[u8] = b"weft/1";
/// One opaque TCP connection between two sidecars.
pub const ALPN_WEFT_TCP: &[u8] = b"weft/tcp";
/// HTTP/2 (RFC 9113, section 3.1).
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 (RFC 7301, section 6).
pub const ALPN_HTTP11: &[u8] = b"http/1.1";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128 first: with the AES instructions that servers have, it costs the least per byte of the three, and
        // 128 bits are what P-256 and X25519 give anyway. ChaCha20 is left for peers without these instructions.
        cipher_suites: vec![
            suite::cipher_suite::TLS13_AES_128_GCM_SHA256,
            suite::cipher_suite::TLS13_AES_256_GCM_SHA384,
            suite::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        // The hybrid first: what is recorded today stays secret when elliptic curves fall. rustls sends the X25519
        // share along with it, so that a peer without the hybrid costs no extra round trip.
        kx_groups: vec![suite::kx_group::X25519MLKEM768, suite::kx_group::X25519, suite::kx_group::SECP256R1],
        ..suite::default_provider()
    })
});

/// The cryptography that all of our TLS uses. Never the process's default one: that is whichever dependency came
/// first, and rustls panics when there are two.
pub fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system's random source does not fail once it is up");
    bytes
}

/// Everything for TLS under one certificate and one trust bundle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Generation {
    certificate: WorkloadCertificate,
    resolver: Arc<SingleCertAndKey>,
    bundle: Arc<TrustBundle>,
}

impl Generation {
    /// Puts a certificate and the bundle to believe together.
    pub fn new(certificate: WorkloadCertificate, bundle: Arc<TrustBundle>) -> Self {
        let resolver = Arc::new(SingleCertAndKey::from(certificate.certified().clone()));
        Self { certificate, resolver, bundle }
    }

    /// The certificate in use.
    pub fn certificate(&self) -> &WorkloadCertificate {
        &self.certificate
    }

    /// Our own identity.
    pub fn identity(&self) -> &Identity {
        self.certificate.identity()
    }

    /// Whom this generation believes.
    pub fn bundle(&self) -> &Arc<TrustBundle> {
        &self.bundle
    }

    /// The identity of a client that presented `chain` (leaf first), if it would be let in at `now`. For connections that
    /// outlive the roots that they were made under. The error says why it would not, as that of a handshake does.
    pub fn verify_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Identity, rustls::Error> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        verify_client(&self.bundle, chain, UnixTime::since_unix_epoch(since_epoch))
    }

    /// For an inbound proxy: a client has to present a good certificate.
    pub fn mesh_server(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let verifier = ClientVerifier::new(self.bundle.clone(), true);
        Arc::new(server_config(verifier, self.resolver.clone(), alpn))
    }

    /// For the control plane: a client may be without a certificate, as it comes for its first; one that it does
    /// present has to be good. The root is sent along, because a client with a join token knows only its fingerprint.
    pub fn control_plane_server(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let verifier = ClientVerifier::new(self.bundle.clone(), false);
        Arc::new(server_config(verifier, Arc::new(self.with_root().into()), alpn))
    }

    /// For an outbound proxy: presents our certificate and accepts servers with one of the expected identities. This
    /// costs a few allocations and no cryptography; keep one for each set of identities and generation.
    pub fn client(&self, expected: ExpectedIdentities, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let verifier = ServerVerifier::new(self.bundle.clone(), expected);
        let builder = client_builder(Arc::new(verifier));
        Arc::new(finish_client(builder.with_client_cert_resolver(self.resolver.clone()), alpn))
    }

    /// Our chain followed by the roots of our own trust domain that may have issued its last certificate.
    fn with_root(&self) -> CertifiedKey {
        let certified = self.certificate.certified();
        let mut chain = certified.cert.clone();
        let issuer = chain.last().and_then(|last| {
            x509::parse(last).ok().map(|last| last.tbs_certificate.issuer.as_raw().to_vec())
        });
        for root in self.bundle.roots(&self.identity().trust_domain()) {
            let subject = x509::parse(root).ok().map(|root| root.tbs_certificate.subject.as_raw().to_vec());
            if subject.is_some() && subject == issuer && !chain.contains(root) {
                chain.push(root.clone());
            }
        }
        CertifiedKey::new(chain, certified.key.clone())
    }
}

/// For a first contact without a certificate where the roots are known, such as from a Kubernetes `ConfigMap`.
pub fn bundle_client(
    bundle: Arc<TrustBundle>,
    expected: ExpectedIdentities,
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let builder = client_builder(Arc::new(ServerVerifier::new(bundle, expected)));
    Arc::new(finish_client(builder.with_no_client_auth(), alpn))
}

/// For a first contact with a join token: without a certificate, and of the roots only the fingerprints are known. The
/// server has to present a root that has one of them, and a chain that leads to it.
pub fn pinned_client(
    roots: impl Into<Arc<[Fingerprint]>>,
    expected: ExpectedIdentities,
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let builder = client_builder(Arc::new(ServerVerifier::new(Pinned(roots.into()), expected)));
    Arc::new(finish_client(builder.with_no_client_auth(), alpn))
}

/// For a client outside the mesh that knows a server by DNS names and these roots (PEM), as the API server knows a webhook.
pub fn named_client(roots: &str) -> Result<Arc<ClientConfig>, Error> {
    let mut store = RootCertStore::empty();
    for root in pem::certificates(roots)? {
        store.add(root).map_err(|error| Error::invalid("root certificate", error.to_string()))?;
    }
    let config = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(finish_client(config, &[])))
}

/// For a server whose clients have no certificates of the mesh.
pub(crate) fn named_server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| Error::invalid("certificate", error.to_string()))?;
    config.alpn_protocols = owned(alpn);
    Ok(config)
}

fn server_config(verifier: ClientVerifier, resolver: Arc<SingleCertAndKey>, alpn: &[&[u8]]) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(resolver);
    // A resumed session takes the peer's identity from the ticket without verifying it again: it would outlive the
    // certificate, a root's removal and a change of what the peer may do. Connections between sidecars are few and
    // long, so that whole handshakes cost little.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // A server that speaks before the client's last message speaks to someone it doesn't know yet.
    config.send_half_rtt_data = false;
    config.max_early_data_size = 0;
    config.alpn_protocols = owned(alpn);
    config
}

fn client_builder(
    verifier: Arc<dyn ServerCertVerifier>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

fn finish_client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    // See `server_config`; also, early data may be replayed.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = owned(alpn);
    config
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

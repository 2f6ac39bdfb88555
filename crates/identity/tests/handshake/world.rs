//! Trust domains, workloads, forgers, and a wire between two of them that is only memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::ClientConnection;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ServerConnection;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig};
use weft_identity::tls::ALPN_WEFT;
use weft_identity::{
    CaMaterial, CertificateAuthority, ExpectedIdentities, Fingerprint, Generation, KeyAndCsr, Origin, Reason,
    Refusal, TrustBundle, WorkloadCertificate,
};
use weft_mesh::name::{Identity, TrustDomain};

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// The moment at which everything happens unless a test says otherwise.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

/// A trust domain and its authority.
pub(crate) struct World {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) authority: CertificateAuthority,
    material: CaMaterial,
}

impl World {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let trust_domain: TrustDomain = trust_domain.parse().unwrap();
        let material = CaMaterial::generate(&trust_domain, now()).unwrap();
        let authority = CertificateAuthority::from_pem(&material, "", &trust_domain, now()).unwrap();
        Self { trust_domain, authority, material }
    }

    pub(crate) fn identity(&self, account: &str) -> Identity {
        Identity::new(&self.trust_domain, "shop", account).unwrap()
    }

    pub(crate) fn expect(&self, account: &str) -> ExpectedIdentities {
        ExpectedIdentities::one(self.identity(account))
    }

    pub(crate) fn bundle(&self) -> Arc<TrustBundle> {
        Arc::new(self.authority.bundle().clone())
    }

    pub(crate) fn fingerprints(&self) -> Vec<Fingerprint> {
        self.authority.bundle().fingerprints(&self.trust_domain)
    }

    pub(crate) fn certificate_at(&self, account: &str, issued: SystemTime) -> WorkloadCertificate {
        let request = KeyAndCsr::generate().unwrap();
        let chain =
            self.authority.sign(request.csr_der(), &self.identity(account), DAY, issued).unwrap().chain;
        request.into_certificate(chain).unwrap()
    }

    pub(crate) fn generation(&self, account: &str) -> Generation {
        Generation::new(self.certificate_at(account, now()), self.bundle())
    }

    /// A certificate of this authority's that it would never sign itself.
    pub(crate) fn forge(&self, change: impl FnOnce(&mut CertificateParams)) -> Forged {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now() - DAY).into();
        params.not_after = (now() + DAY).into();
        params.subject_alt_names = vec![uri(self.identity("cart").as_str())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer_key = KeyPair::from_pem(&self.material.key_pem).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.material.certificate_pem, issuer_key).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Forged::new(vec![leaf.der().clone()], &PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

/// What someone presents without asking whether it is any good.
pub(crate) struct Forged(Arc<SingleCertAndKey>);

impl Forged {
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> Self {
        Self(Arc::new(CertifiedKey::new(chain, any_supported_type(key).unwrap()).into()))
    }

    /// A server that presents this and takes any client of the world's.
    pub(crate) fn server(&self, world: &World) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&world.generation("any").control_plane_server(&[ALPN_WEFT]));
        config.cert_resolver = self.0.clone();
        Arc::new(config)
    }

    /// A client that presents this.
    pub(crate) fn client(&self, world: &World, account: &str) -> Arc<ClientConfig> {
        let mut config =
            ClientConfig::clone(&world.generation("any").client(world.expect(account), &[ALPN_WEFT]));
        config.client_auth_cert_resolver = self.0.clone();
        Arc::new(config)
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct At(SystemTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.duration_since(SystemTime::UNIX_EPOCH).ok()?))
    }
}

/// What became of a handshake, and of one message each way after it.
pub(crate) struct Outcome {
    pub(crate) client: Result<(), Refusal>,
    pub(crate) server: Result<(), Refusal>,
    pub(crate) client_end: ClientConnection,
    pub(crate) server_end: ServerConnection,
}

impl Outcome {
    pub(crate) fn accepted(&self) -> bool {
        self.client.is_ok() && self.server.is_ok()
    }
}

pub(crate) fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Outcome {
    shake_at(client, server, now())
}

/// The same at another time.
pub(crate) fn shake_at(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, time: SystemTime) -> Outcome {
    shake_as(client, server, "127.0.0.1", time)
}

/// Carries bytes to and fro until neither side has any more; the client knows the server by this name.
pub(crate) fn shake_as(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &'static str,
    time: SystemTime,
) -> Outcome {
    let mut client = ClientConfig::clone(client);
    let mut server = ServerConfig::clone(server);
    client.time_provider = Arc::new(At(time));
    server.time_provider = Arc::new(At(time));
    let name = ServerName::try_from(name).unwrap();
    let mut client_end = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server_end = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut client_outcome, mut server_outcome) = (Ok(()), Ok(()));
    loop {
        let mut bytes = Vec::new();
        while client_end.wants_write() {
            client_end.write_tls(&mut bytes).unwrap();
        }
        let to_server = bytes.len();
        deliver(&bytes, &mut server_end, &mut server_outcome);
        bytes.clear();
        while server_end.wants_write() {
            server_end.write_tls(&mut bytes).unwrap();
        }
        deliver(&bytes, &mut client_end, &mut client_outcome);
        if to_server == 0 && bytes.is_empty() {
            break;
        }
    }
    Outcome { client: client_outcome, server: server_outcome, client_end, server_end }
}

fn deliver<D>(
    mut bytes: &[u8],
    end: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    outcome: &mut Result<(), Refusal>,
) {
    while !bytes.is_empty() && outcome.is_ok() {
        end.read_tls(&mut bytes).unwrap();
        *outcome = end.process_new_packets().map(drop).map_err(|error| Refusal::of(&error));
    }
}

pub(crate) fn local(reason: Reason) -> Result<(), Refusal> {
    Err(Refusal { reason, origin: Origin::Local })
}

pub(crate) fn by_peer(reason: Reason) -> Result<(), Refusal> {
    Err(Refusal { reason, origin: Origin::Peer })
}

/// A handshake of a world's client "web" with a server that expects, or is, "cart".
pub(crate) fn web_to_cart(world: &World) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let client = world.generation("web").client(world.expect("cart"), &[ALPN_WEFT]);
    (client, world.generation("cart").mesh_server(&[ALPN_WEFT]))
}

/// The server's refusal of a client that presents a forged certificate; the client sees an alert.
pub(crate) fn server_refuses(world: &World, forged: &Forged) -> Outcome {
    shake(&forged.client(world, "cart"), &world.generation("cart").mesh_server(&[ALPN_WEFT]))
}

/// The client's refusal of a server that presents a forged certificate.
pub(crate) fn client_refuses(world: &World, forged: &Forged) -> Outcome {
    shake(&world.generation("web").client(world.expect("cart"), &[ALPN_WEFT]), &forged.server(world))
}

/// Both sides refuse the forged certificate for the same reason.
pub(crate) fn both_refuse(world: &World, forged: &Forged, reason: Reason) {
    assert_eq!(server_refuses(world, forged).server, local(reason), "server");
    let outcome = client_refuses(world, forged);
    assert_eq!(outcome.client, local(reason), "client");
    assert_eq!(outcome.server.unwrap_err().origin, Origin::Peer);
}

pub(crate) fn pem_key(text: &str) -> rustls::pki_types::PrivateKeyDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes()).unwrap()
}

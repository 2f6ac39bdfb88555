//! How a client gets a transport.

use std::future::Future;

use bytes::Bytes;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

/// Makes a transport for each (re)connection, so that each can have the certificate and the address of its time.
///
/// Implemented for closures: `|| async { endpoint.connect_with_connector(connector).await }`. The transport should
/// send HTTP/2 keepalives: a discovery stream is silent as long as nothing changes.
pub trait Connect: Send + 'static {
    /// A gRPC transport, such as `tonic::transport::Channel`.
    type Service: GrpcService<
            Body,
            Error: Into<StdError>,
            ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
            Future: Send,
        > + Send;

    /// Connects; the client bounds it in time.
    fn connect(&mut self) -> impl Future<Output = Result<Self::Service, StdError>> + Send;
}

impl<F, R, S, E> Connect for F
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<S, E>> + Send,
    E: Into<StdError>,
    S: GrpcService<
            Body,
            Error: Into<StdError>,
            ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
            Future: Send,
        > + Send,
{
    type Service = S;

    async fn connect(&mut self) -> Result<S, StdError> {
        self().await.map_err(Into::into)
    }
}

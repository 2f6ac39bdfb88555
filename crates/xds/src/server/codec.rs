//! Writes responses out of resources that are encoded already, so that a resource is encoded once for all its
//! subscribers and a waiting response holds references, not copies.

use std::sync::Arc;

use bytes::BufMut;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, string};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

use crate::EncodedResource;

/// Field numbers of `DeltaDiscoveryResponse`.
const RESOURCES: u32 = 2;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;

/// A `DeltaDiscoveryResponse` before it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Response {
    pub(super) type_url: String,
    pub(super) nonce: String,
    pub(super) resources: Vec<Arc<EncodedResource>>,
    pub(super) removed: Vec<String>,
}

impl Response {
    fn encoded_len(&self) -> usize {
        let resource = |resource: &Arc<EncodedResource>| {
            let len = resource.wire().len();
            key_len(RESOURCES) + encoded_len_varint(len as u64) + len
        };
        self.resources.iter().map(resource).sum::<usize>()
            + string::encoded_len(TYPE_URL, &self.type_url)
            + string::encoded_len(NONCE, &self.nonce)
            + string::encoded_len_repeated(REMOVED, &self.removed)
    }

    fn encode(&self, buffer: &mut impl BufMut) {
        for resource in &self.resources {
            encode_key(RESOURCES, WireType::LengthDelimited, buffer);
            encode_varint(resource.wire().len() as u64, buffer);
            buffer.put_slice(resource.wire());
        }
        string::encode(TYPE_URL, &self.type_url, buffer);
        string::encode(NONCE, &self.nonce, buffer);
        string::encode_repeated(REMOVED, &self.removed, buffer);
    }
}

/// The codec of the server's side of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerCodec;

impl Codec for ServerCodec {
    type Encode = Response;
    type Decode = DeltaDiscoveryRequest;
    type Encoder = ResponseEncoder;
    type Decoder = <ProstCodec<(), DeltaDiscoveryRequest> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ResponseEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), DeltaDiscoveryRequest>::raw_decoder(BufferSettings::default())
    }
}

/// Writes a [`Response`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseEncoder;

impl Encoder for ResponseEncoder {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, response: Response, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(response.encoded_len());
        response.encode(buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
    use prost::Message;

    use super::*;

    #[test]
    fn a_response_is_what_the_generated_type_reads() {
        let resources = ["a", "b"]
            .map(|name| Arc::new(EncodedResource::from_content("t", name, name.repeat(300).into_bytes())));
        let response = Response {
            type_url: "t".into(),
            nonce: "7".into(),
            resources: resources.to_vec(),
            removed: vec!["c".into(), "d/*".into()],
        };
        let mut buffer = Vec::new();
        response.encode(&mut buffer);
        assert_eq!(buffer.len(), response.encoded_len());
        let read = DeltaDiscoveryResponse::decode(buffer.as_slice()).unwrap();
        assert_eq!((read.type_url.as_str(), read.nonce.as_str()), ("t", "7"));
        assert_eq!(read.removed_resources, ["c", "d/*"]);
        let names: Vec<&str> = read.resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(read.resources[1].version, resources[1].version().to_string());
    }
}

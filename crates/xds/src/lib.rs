//! A delta xDS client and server, generic over the resource.

//! [`BackendMessage`]: what a server can say in a conversation.

use postgres_protocol::message::backend::{CopyDataBody, DataRowBody, Message, RowDescriptionBody};

use crate::protocol_error::ProtocolError;
use crate::server_error::ServerError;

/// A message that is part of a conversation, unlike notices and reports of settings, which may come at any time.
pub(crate) enum BackendMessage {
    RowDescription(RowDescriptionBody),
    DataRow(DataRowBody),
    CommandComplete,
    EmptyQuery,
    ReadyForQuery,
    Error(ServerError),
    CopyIn,
    CopyOut,
    CopyBoth,
    CopyData(CopyDataBody),
    CopyDone,
    /// One of the kinds that begin with `R`.
    Authentication(Message),
    BackendKeyData,
    /// What belongs to parts of the protocol that we do not use.
    Other,
}

impl BackendMessage {
    /// Returns the name of the message in PostgreSQL's documentation.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::RowDescription(_) => "RowDescription",
            Self::DataRow(_) => "DataRow",
            Self::CommandComplete => "CommandComplete",
            Self::EmptyQuery => "EmptyQueryResponse",
            Self::ReadyForQuery => "ReadyForQuery",
            Self::Error(_) => "ErrorResponse",
            Self::CopyIn => "CopyInResponse",
            Self::CopyOut => "CopyOutResponse",
            Self::CopyBoth => "CopyBothResponse",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::Authentication(_) => "an authentication message",
            Self::BackendKeyData => "BackendKeyData",
            Self::Other => "a message",
        }
    }

    /// Returns the error of getting this message `during` something that has no place for it.
    pub(crate) fn unexpected(&self, during: &'static str) -> ProtocolError {
        ProtocolError::Unexpected { message: self.name(), during }
    }
}

/// Sorts what postgres-protocol has parsed. Errors are decoded before, because that can fail.
impl From<Message> for BackendMessage {
    fn from(message: Message) -> Self {
        match message {
            Message::RowDescription(body) => Self::RowDescription(body),
            Message::DataRow(body) => Self::DataRow(body),
            Message::CommandComplete(_) => Self::CommandComplete,
            Message::EmptyQueryResponse => Self::EmptyQuery,
            Message::ReadyForQuery(_) => Self::ReadyForQuery,
            Message::CopyInResponse(_) => Self::CopyIn,
            Message::CopyOutResponse(_) => Self::CopyOut,
            Message::CopyData(body) => Self::CopyData(body),
            Message::CopyDone => Self::CopyDone,
            message @ (Message::AuthenticationOk
            | Message::AuthenticationCleartextPassword
            | Message::AuthenticationMd5Password(_)
            | Message::AuthenticationSasl(_)
            | Message::AuthenticationSaslContinue(_)
            | Message::AuthenticationSaslFinal(_)
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential
            | Message::AuthenticationGss
            | Message::AuthenticationGssContinue(_)
            | Message::AuthenticationSspi) => Self::Authentication(message),
            _ => Self::Other,
        }
    }
}

"""The shard schema, versioned: ``sample`` is one encoded conversation, ``index`` is the data set around it."""

from avatar_lab.data.schema.index import (
    INDEX_NAME,
    INFO_NAME,
    DatasetInfo,
    IndexRow,
    Member,
    ShardInfo,
    file_sha256,
    read_index,
    read_info,
    shard_name,
    write_index,
    write_info,
)
from avatar_lab.data.schema.sample import (
    SCHEMA_VERSION,
    SIDES,
    Interaction,
    InteractionMeta,
    SideArrays,
    from_members,
    shard_key,
    to_members,
)

__all__ = [
    "INDEX_NAME",
    "INFO_NAME",
    "SCHEMA_VERSION",
    "SIDES",
    "DatasetInfo",
    "IndexRow",
    "Interaction",
    "InteractionMeta",
    "Member",
    "ShardInfo",
    "SideArrays",
    "file_sha256",
    "from_members",
    "read_index",
    "read_info",
    "shard_key",
    "shard_name",
    "to_members",
    "write_index",
    "write_info",
]

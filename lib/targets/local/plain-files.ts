/** Names the Hadoop file system for local files that no reader looks for, on servers that have one: no checksums, quick to write. */
export const PLAIN_FILES_SETTING = "spark.glueconnect.files.plain.impl";

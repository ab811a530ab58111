export * from "./create-object-store.js";
export * from "./object-store.js";
export { fileUriOfPath, isFileUri, isS3Uri, parseS3Uri, pathOfFileUri, type S3Location } from "./uri.js";

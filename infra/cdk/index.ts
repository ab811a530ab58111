export { type Artifact, type JobArtifacts, uploadArtifacts } from "./artifacts.js";
export { DataStack } from "./data-stack.js";
export {
  type InfraJob,
  type Infrastructure,
  type InfrastructureOptions,
  loadInfrastructure,
} from "./infrastructure.js";
export { JobsStack } from "./jobs-stack.js";
export { addStacks, type Stacks, synthesize, type Template } from "./synthesize.js";

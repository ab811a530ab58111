"""Runs state machines in moto's interpreter of Amazon States Language, with job runs that end as the test says.

Reads a list of `{"definition", "input", "ends": {"<name of the state>": "SUCCESS" | "<error>: <cause>"}}` as JSON on standard
input; answers with `{"status", "output", "tasks": [{"state", "resource", "parameters"}]}` for each. A job run that nothing is said of
succeeds. JSONata expressions are evaluated by `node <argv[1]>`, since moto has none of its own.
"""

import copy
import json
import logging
import os
import subprocess
import sys
import time

for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ[name] = "test"
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"

import boto3
from moto import mock_aws
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_glue import StateTaskServiceGlue
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_unsupported import (
    StateTaskServiceUnsupported,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.jsonata import jsonata

ends = {}
tasks = []


def failure(env, error, cause):
    known = {"States.Timeout": StatesErrorNameType.StatesTimeout, "States.TaskFailed": StatesErrorNameType.StatesTaskFailed}
    name = StatesErrorName(known[error]) if error in known else CustomErrorName(error)
    details = EventDetails(taskFailedEventDetails=TaskFailedEventDetails(error=error, cause=cause))
    return FailureEventException(
        FailureEvent(env=env, error_name=name, event_type=HistoryEventType.TaskFailed, event_details=details)
    )


def run_job(self, env):
    state_credentials = self._eval_state_credentials(env=env)
    parameters = self._eval_parameters(env=env)
    tasks.append({"state": self.name, "resource": self.resource.resource_arn, "parameters": copy.deepcopy(parameters)})
    how = ends.get(self.name, "SUCCESS")
    if isinstance(how, list):
        how = how.pop(0)
    if how != "SUCCESS":
        error, _, cause = how.partition(": ")
        raise failure(env, error, cause)
    env.stack.append({"JobRunId": "run", "State": "SUCCESS"})


def evaluate(expression):
    done = subprocess.run(["node", sys.argv[1]], input=expression, capture_output=True, text=True)
    if done.returncode != 0:
        raise jsonata.JSONataException("UNKNOWN", done.stderr)
    return json.loads(done.stdout)


def run(case):
    ends.clear()
    tasks.clear()
    ends.update(case.get("ends", {}))
    client = boto3.client("stepfunctions")
    role = "arn:aws:iam::123456789012:role/machine"
    name = f"machine-{time.monotonic_ns()}"
    machine = client.create_state_machine(name=name, definition=json.dumps(case["definition"]), roleArn=role)["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine, name="trial", input=json.dumps(case["input"]))["executionArn"]
    while (found := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.02)
    answer = {"status": found["status"], "tasks": copy.deepcopy(tasks), "error": found.get("error"), "cause": found.get("cause")}
    if found["status"] == "SUCCEEDED":
        answer["output"] = json.loads(found["output"])
    return answer


logging.disable(logging.CRITICAL)
for service in (StateTaskServiceUnsupported, StateTaskServiceGlue):
    service._eval_execution = run_job
    service._assert_integration_pattern_is_supported = lambda self: None
jsonata._eval_jsonata = evaluate
with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
    json.dump([run(case) for case in json.load(sys.stdin)], sys.stdout)

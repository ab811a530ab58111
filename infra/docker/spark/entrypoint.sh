#!/usr/bin/env bash
# A Spark Connect server that answers its own machine, and who has its token.
#
#   GLUE_CONNECT_SPARK_TOKEN   required
#   SPARK_CONNECT_PORT         default 15003
#   SPARK_JARS                 folder of the jars, default /opt/spark/jars
#   SPARK_WAREHOUSE            folder of the Iceberg catalog `lake`, default /data/warehouse
#   SPARK_JAVA_OPTIONS         such as -Xmx8g
#   AWS_ENDPOINT_URL           of S3, for another than AWS's; with AWS_REGION and keys as every AWS tool reads them
set -euo pipefail

: "${GLUE_CONNECT_SPARK_TOKEN:?is not set: whoever reaches a Spark without a token can run code in it}"
jars=${SPARK_JARS:-/opt/spark/jars}
warehouse=${SPARK_WAREHOUSE:-/data/warehouse}

options=(-Xmx3g -XX:+IgnoreUnrecognizedVMOptions)
# What Spark's own launch script adds for Java 17.
for package in java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util java.util.concurrent \
  java.util.concurrent.atomic jdk.internal.ref sun.nio.ch sun.nio.cs sun.security.action sun.util.calendar; do
  options+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
options+=(
  --add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED
  -Djdk.reflect.useDirectMethodHandle=false
  -Djava.net.preferIPv4Stack=true
  -Dlog4j2.configurationFile=classpath:io/glueconnect/spark/log4j2.properties
  -Dfile.encoding=UTF-8
)
# shellcheck disable=SC2206 # Several options in one variable.
options+=(${SPARK_JAVA_OPTIONS:-})

conf=(
  "spark.master=local[*]"
  spark.app.name=glue-connect
  spark.ui.enabled=false
  spark.driver.host=127.0.0.1
  spark.driver.bindAddress=127.0.0.1
  "spark.connect.grpc.binding.port=${SPARK_CONNECT_PORT:-15003}"
  spark.connect.grpc.interceptor.classes=io.glueconnect.spark.ActivityInterceptor,io.glueconnect.spark.AccessInterceptor
  spark.sql.session.timeZone=UTC
  spark.sql.catalogImplementation=in-memory
  "spark.sql.warehouse.dir=file://$warehouse/spark"
  spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog
  spark.sql.catalog.lake.type=hadoop
  "spark.sql.catalog.lake.warehouse=file://$warehouse"
  spark.hadoop.fs.s3.impl=org.apache.hadoop.fs.s3a.S3AFileSystem
  spark.hadoop.fs.AbstractFileSystem.s3.impl=org.apache.hadoop.fs.s3a.S3A
  spark.hadoop.fs.s3a.aws.credentials.provider=com.amazonaws.auth.DefaultAWSCredentialsProviderChain
)
extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions
if compgen -G "$jars/spark-cassandra-connector*.jar" > /dev/null; then
  extensions+=,com.datastax.spark.connector.CassandraSparkExtensions
fi
conf+=("spark.sql.extensions=$extensions")
if [[ -n ${AWS_ENDPOINT_URL:-} ]]; then
  conf+=("spark.hadoop.fs.s3a.endpoint=$AWS_ENDPOINT_URL" spark.hadoop.fs.s3a.path.style.access=true)
fi
if [[ -n ${AWS_REGION:-} ]]; then
  conf+=("spark.hadoop.fs.s3a.endpoint.region=$AWS_REGION")
fi

mkdir -p "$warehouse"
# Spark takes the process over, so that it gets the container's signals.
export SPARK_LOCAL_IP=127.0.0.1
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${options[@]}" -cp "$jars/*" org.apache.spark.deploy.SparkSubmit \
  "${conf[@]/#/--conf=}" --class org.apache.spark.sql.connect.service.SparkConnectServer spark-internal

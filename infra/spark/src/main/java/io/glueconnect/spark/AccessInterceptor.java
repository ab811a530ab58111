package io.glueconnect.spark;

import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import org.sparkproject.connect.grpc.Grpc;
import org.sparkproject.connect.grpc.Metadata;
import org.sparkproject.connect.grpc.ServerCall;
import org.sparkproject.connect.grpc.ServerCallHandler;
import org.sparkproject.connect.grpc.ServerInterceptor;
import org.sparkproject.connect.grpc.Status;

/**
 * Refuses every call that doesn't come from this machine, or doesn't carry this server's token.
 *
 * <p>Spark 3.5 listens on all addresses and asks nobody for a token, and whoever reaches it can run code. Spark 4 has settings
 * of its own for both, so a 4.x server is started without this class.
 */
public final class AccessInterceptor implements ServerInterceptor {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final byte[] expected;

  /** Spark calls this one. A server without a token would be open to every user of the machine, so it doesn't start. */
  public AccessInterceptor() {
    this(Settings.required("GLUE_CONNECT_SPARK_TOKEN"));
  }

  AccessInterceptor(String token) {
    this.expected = digest("Bearer " + token);
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    if (!isLoopback(call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR))) {
      return refuse(call, Status.PERMISSION_DENIED.withDescription("This local Spark server answers its own machine only"));
    }
    String given = headers.get(AUTHORIZATION);
    // Digests have one length, so the comparison tells nothing about the token's, nor how much of it was right.
    if (given == null || !MessageDigest.isEqual(digest(given), expected)) {
      return refuse(call, Status.UNAUTHENTICATED.withDescription("This local Spark server's token is missing or wrong"));
    }
    return next.startCall(call, headers);
  }

  /** An address that isn't known is not trusted. */
  static boolean isLoopback(SocketAddress peer) {
    return peer instanceof InetSocketAddress
        && ((InetSocketAddress) peer).getAddress() != null
        && ((InetSocketAddress) peer).getAddress().isLoopbackAddress();
  }

  private static <Q, A> ServerCall.Listener<Q> refuse(ServerCall<Q, A> call, Status status) {
    call.close(status, new Metadata());
    return new ServerCall.Listener<Q>() {};
  }

  private static byte[] digest(String text) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
    } catch (java.security.NoSuchAlgorithmException missing) {
      throw new IllegalStateException(missing);
    }
  }
}
